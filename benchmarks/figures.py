"""A measured figure, its target, and the result file of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """One number with its unit; `samples` are what `value` was computed from.

    `target` None: only reported. `value` None: this machine cannot measure it.
    """

    name: str
    value: float | None
    unit: str
    target: float | None = None
    better: Literal["lower", "higher"] = "lower"
    samples: Sequence[float] = ()
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None or self.value is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.value >= self.target

    @property
    def value_text(self) -> str:
        return "not measured" if self.value is None else f"{self.value:g} {self.unit}"

    @property
    def target_text(self) -> str:
        sign = "<=" if self.better == "lower" else ">="
        return "" if self.target is None else f"{sign} {self.target:g} {self.unit}"


@dataclass(frozen=True)
class Report:
    """All figures of one run and where they were measured."""

    date: str
    commit: str
    machine: dict[str, str | int | float]
    figures: list[Figure] = field(default_factory=lambda: [])

    def write(self, path: Path) -> None:
        rows = [
            asdict(figure) | {"value": "not measured" if figure.value is None else figure.value, "met": figure.met}
            for figure in self.figures
        ]
        content = {"date": self.date, "commit": self.commit, "machine": self.machine, "figures": rows}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
