"""What an evaluation leaves for people: tables, a chart, a sheet of pictures, and the figures as JSON.

Knows rows and frames; measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core.model.evaluation.chart import Mark, Panel, chart
from core.model.evaluation.figures import CHUNK
from core.model.evaluation.reader import Frames
from core.model.evaluation.summary import Row, as_markdown
from core.model.evaluation.videos import Order, load_frames
from core.service.video.contact_sheet import contact_sheet

_SHEET_ROWS = 24


@dataclass(frozen=True)
class Section:
    """Rows that share an axis of the chart."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Report:
    """A whole evaluation."""

    title: str
    engine: str
    """Its fingerprint."""
    sections: Sequence[Section]
    upper_bounds: Mapping[str, float]
    notes: Sequence[str]
    """What was not measured, and why."""

    @property
    def rows(self) -> list[Row]:
        """Of all sections."""
        return [row for section in self.sections for row in section.rows]

    def table(self) -> str:
        """The table with the notes below it."""
        return "\n\n".join((as_markdown(self.rows, self.upper_bounds), *self.notes))

    def write(self, folder: Path) -> None:
        """report.md, report.json and report.png."""
        folder.mkdir(parents=True, exist_ok=True)
        text = f"# {self.title}\n\nEngine: {self.engine}\n\n{self.table()}\n"
        (folder / "report.md").write_text(text, encoding="utf-8")
        content = {
            "title": self.title,
            "engine": self.engine,
            "rows": [asdict(row) for row in self.rows],
            "autoencoder_only": dict(self.upper_bounds),
            "notes": list(self.notes),
        }
        (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        panels = [Panel(section.title, [_mark(row) for row in section.rows]) for section in self.sections]
        chart(self.title, panels).save(folder / "report.png")


def _mark(row: Row) -> Mark:
    return Mark(row.name, row.value, row.low, row.high, row.target, row.is_met)


def write_sheet(orders: Sequence[Order], title: str, path: Path) -> None:
    """A row per video, 16 frames from all over it; the first videos only where there are many."""
    shown = orders[:_SHEET_ROWS]
    rows = [_sixteen(load_frames(order.frames_file)) for order in shown]
    contact_sheet(rows, [f"\n{order.spec.prompt}" for order in shown], title=title).save(path)


def _sixteen(frames: Frames) -> Frames:
    """16 frames, evenly spaced from the first to the last."""
    return frames[np.linspace(0, len(frames) - 1, CHUNK).round().astype(int)]
