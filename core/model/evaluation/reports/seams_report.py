"""The report of the suite `seams`: figures by row with confidence intervals, as table, JSON and chart.

Shapes: N clips, K seeds, R rows, M figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

import numpy as np

from core.metrics.bootstrap import Interval, Values, interval
from core.model.evaluation.generation.refinement_methods import METHODS
from core.model.evaluation.metrics.seam_figures import SeamFigures, gain_kept
from core.model.evaluation.reports.chart import Panel, Point, chart

TRUE, PREVIEW = "true clip", "preview, enlarged"
ROWS = (TRUE, PREVIEW, *METHODS)
_TITLES = {
    "score": "flow std: deviation of the flow over frames, pixels",
    "across": "flow across window borders, pixels",
    "false_at_seams": "false change at seams, grey levels",
}
"""The figures of the chart, and those by which methods are compared."""
_NO_GAIN = "no clear gain of lockstep"
_HEADINGS = (
    "flow std, pixels",
    "above the true clip's",
    "flow across window borders, pixels",
    "false change at seams, grey levels",
    "false change elsewhere",
)


@dataclass(frozen=True)
class SeamsConfig:
    """Which clips are refined, how often, and with which strength."""

    clips: int
    seeds: int
    frames: int
    strength: float | None = None
    """None: the preset's."""

    @property
    def name(self) -> str:
        """Folder name of the results."""
        return f"seams-{self.frames}" + ("" if self.strength is None else f"-{self.strength:g}")

    @property
    def title(self) -> str:
        """Title of the report."""
        title = f"Seams: {self.clips} held-out clips of {self.frames} frames, seeds: {self.seeds}"
        return title + ("" if self.strength is None else f", strength {self.strength:g}")


@dataclass(frozen=True)
class SeamsReport:
    """All figures with their 95 % intervals."""

    config: SeamsConfig
    refiner: str
    """Its fingerprint."""
    rows: Mapping[str, Mapping[str, Interval]]
    """By row and name of the figure."""
    above_true: Mapping[str, Interval]
    """Flow std minus that of the true clip, whose motion is not a seam's, by row."""
    gain: Mapping[str, Interval]
    """Lockstep's gain over independent windows, by figure."""
    kept: Mapping[str, Interval]
    """Share of the gain that streaming keeps, by figure; only for figures with a clear gain."""

    @staticmethod
    def of(measured: Sequence[Mapping[str, SeamFigures]], config: SeamsConfig, refiner: str) -> SeamsReport:
        """`measured`: figures by row, for each clip and within it for each seed."""
        values_NKRM = np.array([[astuple(by_row[row]) for row in ROWS] for by_row in measured], np.float64)
        by_clip_NRM: Values = values_NKRM.reshape(config.clips, config.seeds, *values_NKRM.shape[1:]).mean(axis=1)
        names = [field.name for field in fields(SeamFigures)]
        compared = {name: by_clip_NRM[:, :, names.index(name)] for name in _TITLES}
        gain = {name: interval(by_row, _gain) for name, by_row in compared.items()}
        return SeamsReport(
            config,
            refiner,
            {
                row: {name: interval(by_clip_NRM[:, r, m], lambda means: means) for m, name in enumerate(names)}
                for r, row in enumerate(ROWS)
            },
            {
                row: interval(compared["score"], lambda means, r=r: means[:, r] - means[:, 0])
                for r, row in enumerate(ROWS)
            },
            gain,
            {name: interval(compared[name], _gain_kept) for name in compared if gain[name].low > 0},
        )

    def table(self) -> str:
        """Markdown: a line per row, and what streaming keeps."""
        lines = ["| | " + " | ".join(_HEADINGS) + " |", "|---" * (len(_HEADINGS) + 1) + "|"]
        for row, figures in self.rows.items():
            score, *others = figures.values()
            cells = (score, self.above_true[row], *others)
            lines.append(f"| {row} | " + " | ".join(map(str, cells)) + " |")
        lines += [
            "",
            "| | lockstep's gain over independent windows | share that streaming keeps (target 0.8) |",
            "|---|---|---|",
        ]
        lines += [f"| {_TITLES[name]} | {gain} | {self.kept.get(name, _NO_GAIN)} |" for name, gain in self.gain.items()]
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write report.md, report.json and report.png."""
        title = self.config.title
        explanation = "Means over clips with 95 % intervals (bootstrap over clips). Lower is better throughout."
        text = f"# {title}\n\nRefiner: {self.refiner}\n\n{explanation}\n\n{self.table()}\n"
        (folder / "report.md").write_text(text, encoding="utf-8")
        values = asdict(self)
        content = {"asked": values.pop("config"), **values}
        (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        panels = [
            Panel(heading, [Point(row, *astuple(self.rows[row][name])) for row in ROWS])
            for name, heading in _TITLES.items()
        ]
        chart(title, panels).save(folder / "report.png")


def _gain(means: Values) -> Values:
    """Of means by row [resamples, R]: independent minus lockstep."""
    return means[:, ROWS.index("independent")] - means[:, ROWS.index("lockstep")]


def _gain_kept(means: Values) -> Values:
    """Of means by row [resamples, R]: the share of the gain that streaming keeps."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return gain_kept({row: means[:, index] for index, row in enumerate(ROWS)})
