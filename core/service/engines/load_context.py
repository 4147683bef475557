"""What a definition is given to load an engine or a refiner with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from core.service.domain.engine import LongWork, unannounced

PresetT = TypeVar("PresetT")


@dataclass(frozen=True)
class LoadContext(Generic[PresetT]):
    """A preset and the process that loads it."""

    preset: PresetT
    """Of an engine its preset, of a refiner the preset's `refiner` block."""
    folder: Path
    """Holds preset.json."""
    weights: Path
    """The weights folder: `folder`, or where downloads are installed."""
    torch_threads: int = 0
    """CPU threads to compute with; 0: one per core."""
    torch_compile: bool = False
    """Whether networks may be compiled."""
    long_work: LongWork = unannounced
    """Surrounds all work of minutes that has no steps: loading, compiling."""
