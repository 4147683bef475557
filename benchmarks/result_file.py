"""A result file that is written after every figure, so that a run that ends early loses nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Report
from core.whole_files import unfinished


class ResultFile:
    """The figures of one file, by name. A run of the same commit on the same device adds to them."""

    def __init__(self, path: Path, report: Report) -> None:
        """`report`: date, commit and machine; figures of an earlier run of the same commit and machine are kept."""
        self.path = path
        self.report = replace(report, figures=_earlier(path, report))

    def add(self, figure: Figure) -> None:
        """Replace the figure of the same name, or append it, and write the file."""
        names = [each.name for each in self.report.figures]
        if figure.name in names:
            self.report.figures[names.index(figure.name)] = figure
        else:
            self.report.figures.append(figure)
        self._write()

    def drop(self, name: str) -> None:
        """Remove a figure and write the file."""
        self.report.figures[:] = [figure for figure in self.report.figures if figure.name != name]
        self._write()

    def _write(self) -> None:
        """Atomically: a run that is killed leaves the previous file."""
        with unfinished(self.path) as part:
            self.report.write(part)


def _earlier(path: Path, report: Report) -> list[Figure]:
    """Figures of a file of the same commit, GPU and torch; none if there is no such file."""
    if not path.exists():
        return []
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    machine: dict[str, Any] = content["machine"]
    same = [machine.get(key) == report.machine.get(key) for key in ("gpu", "torch", "size")]
    if content["commit"] != report.commit or not all(same):
        return []
    return [_figure(row) for row in content["figures"]]


def _figure(row: dict[str, Any]) -> Figure:
    known: dict[str, Any] = {key: value for key, value in row.items() if key != "met"}
    known["value"] = None if row["value"] == "not measured" else row["value"]
    return Figure(**known)
