"""Jobs of a scenario: when they come, whose they are, how long they are, and how long a worker takes for each chunk.

Worker seconds come from recorded ones: `recorded` reads the samples of `benchmarks/results/cpu-2-cores-chunks.json`
(`sprites` as shipped, two cores, first and later chunks). A chunk takes one of these samples, drawn with the
scenario's seed, times the scenario's factor. So the spread is the recorded one, and the level is the scenario's.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.priority import Priority

FPS = 8
PLAYED_SECONDS = CHUNK_FRAMES / FPS
"""Seconds that a viewer watches a chunk."""
RECORDED = Path(__file__).parents[1] / "results" / "cpu-2-cores-chunks.json"


@dataclass(frozen=True)
class ChunkTimes:
    """Recorded worker seconds of chunks, one of which is drawn for each chunk."""

    first: Sequence[float]
    later: Sequence[float]

    def scaled(self, speed: float) -> ChunkTimes:
        """The same with later chunks that are made `speed` times as fast as they are played, on average."""
        factor = PLAYED_SECONDS / speed / statistics.mean(self.later)
        return ChunkTimes([factor * value for value in self.first], [factor * value for value in self.later])

    @property
    def first_mean(self) -> float:
        return statistics.mean(self.first)

    @property
    def speed(self) -> float:
        """Seconds played per worker second, of later chunks."""
        return PLAYED_SECONDS / statistics.mean(self.later)

    def seconds_of(self, chunks: int) -> float:
        """Mean worker seconds of a job."""
        return self.first_mean + (chunks - 1) * statistics.mean(self.later)

    def draw(self, chunks: int, random: random.Random) -> tuple[float, ...]:
        return (random.choice(self.first), *(random.choice(self.later) for _ in range(chunks - 1)))


@cache
def recorded() -> ChunkTimes:
    """Of `sprites`, two threads, in seconds."""
    content: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    samples = {row["name"]: tuple(row["samples"]) for row in content["figures"]}
    return ChunkTimes(samples["first chunk, 2 threads"], samples["later chunk, 2 threads"])


@dataclass
class SimulatedJob:
    """A job, and what has become of it. Times are seconds since the start of the simulation."""

    id: str
    owner: str
    priority: Priority
    created_at: float
    seconds: tuple[float, ...]
    """Worker seconds of each chunk."""
    started_at: float | None = None
    committed_at: list[float] = field(default_factory=list[float])
    is_dear: bool = False
    """Whether its chunks cost more than those of most jobs."""

    @property
    def done(self) -> int:
        return len(self.committed_at)

    @property
    def has_ended(self) -> bool:
        return self.done == len(self.seconds)

    @property
    def stalls_at(self) -> float | None:
        """When a viewer who began with the first chunk, and never had to wait, has seen all there is."""
        return self.committed_at[0] + self.done * PLAYED_SECONDS if self.committed_at else None
