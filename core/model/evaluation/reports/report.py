"""The report of an evaluation: a table, a chart, a sheet of frames, and the figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core.model.evaluation.generation.videos import VideoRequest, load_frames
from core.model.evaluation.metrics.video_figures import CHUNK
from core.model.evaluation.reports.chart import Panel, Point, chart
from core.model.evaluation.reports.summary import Row, as_markdown
from core.service.domain.engine import FramesTHWC
from core.service.video.contact_sheet import contact_sheet

_SHEET_ROWS = 24


@dataclass(frozen=True)
class Section:
    """Rows that share one panel of the chart."""

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
    """Figures that were not measured, and why."""

    @property
    def rows(self) -> list[Row]:
        """The rows of all sections."""
        return [row for section in self.sections for row in section.rows]

    def table(self) -> str:
        """Markdown: the table, followed by the notes."""
        return "\n\n".join((as_markdown(self.rows, self.upper_bounds), *self.notes))

    def write(self, folder: Path) -> None:
        """Write report.md, report.json and report.png."""
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
        panels = [Panel(section.title, [_point(row) for row in section.rows]) for section in self.sections]
        chart(self.title, panels).save(folder / "report.png")


def _point(row: Row) -> Point:
    return Point(row.name, row.value, row.low, row.high, row.target, row.is_met)


def write_sheet(requests: Sequence[VideoRequest], title: str, path: Path) -> None:
    """Write a contact sheet of the first _SHEET_ROWS videos, 16 evenly spaced frames of each."""
    shown = requests[:_SHEET_ROWS]
    rows = [_spaced(load_frames(request.frames_file)) for request in shown]
    contact_sheet(rows, [f"\n{request.spec.prompt}" for request in shown], title=title).save(path)


def _spaced(frames: FramesTHWC) -> FramesTHWC:
    """16 frames, evenly spaced from the first to the last."""
    return frames[np.linspace(0, len(frames) - 1, CHUNK).round().astype(int)]
