"""The report of the suite `anchor`: what is read from anchor embeddings, and chance, as table, JSON and chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.model.evaluation.reports.anchor_probes import Probed
from core.model.evaluation.reports.chart import Panel, Point, chart


@dataclass(frozen=True)
class AnchorReport:
    """All probes of one image encoder."""

    title: str
    encoder: str
    """Where its weights are from."""
    probed: Sequence[Probed]

    def table(self) -> str:
        """Markdown: a line per property."""
        lines = [
            "| read from the anchor's embedding | right | 95 % interval | chance | above chance | scenes |",
            "|---|---|---|---|---|---|",
        ]
        for one in self.probed:
            row, is_read = one.row, "yes" if one.is_read else "no"
            lines.append(
                f"| {row.name} | {row.value:.3f} | {row.low:.3f} to {row.high:.3f} | {one.chance:.3f} | {is_read} |"
                f" {row.count} |"
            )
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write report.md, report.json and report.png."""
        folder.mkdir(parents=True, exist_ok=True)
        text = f"# {self.title}\n\nImage encoder: {self.encoder}\n\n{self.table()}\n"
        (folder / "report.md").write_text(text, encoding="utf-8")
        rows = [
            {
                **{key: value for key, value in asdict(one.row).items() if key not in ("target", "at_most")},
                "chance": one.chance,
                "above_chance": one.is_read,
            }
            for one in self.probed
        ]
        content = {"title": self.title, "encoder": self.encoder, "rows": rows}
        (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        points = [Point(p.row.name, p.row.value, p.row.low, p.row.high, p.chance, p.is_read) for p in self.probed]
        chart(self.title, [Panel("right on held-out scenes; tick: chance", points)]).save(folder / "report.png")
