"""The argument of `load` of an engine or refiner definition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from core.service.domain.engine import LongWork, unannounced

PresetT = TypeVar("PresetT")


@dataclass(frozen=True)
class LoadContext(Generic[PresetT]):
    """A preset, its folders, and settings of the process that loads it."""

    preset: PresetT
    """For an engine its preset, for a refiner the preset's `refiner` block."""
    folder: Path
    """Holds preset.json."""
    weights: Path
    """The weights folder: `folder`, or where downloads are installed."""
    torch_threads: int = 0
    """CPU threads to compute with; 0: one per core."""
    torch_compile: bool = False
    """Whether networks may be compiled."""
    long_work: LongWork = unannounced
    """A context manager around work of minutes that reports no steps: loading, compiling."""
    shared: Path | None = None
    """The weights folder of the preset that `shares` names."""

    def part(self, name: str) -> Path:
        """The folder of a part such as "vae": of these weights, or else of the shared ones."""
        own = self.weights / name
        return own if self.shared is None or own.exists() else self.shared / name
