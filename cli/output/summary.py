"""A job's figures and its time per phase. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.service.domain.schema import Chunk, Job

PHASES = ("denoise", "decode", "encode", "upload", "queue")
OUTSIDE_ENGINE = frozenset({"queue", "commit", "load", "encode", "upload"})
"""Phases of a chunk outside the engine."""
OTHER = "other"
MIN_SHOWN_SECONDS = 0.05
"""Phases that are not in PHASES and took less are counted as `other`."""


@dataclass(frozen=True)
class Summary:
    """Times in seconds; None if the job did not get that far. `phases` adds up to `wall_seconds`, or to more where
    chunks were stored while the next ones were made."""

    first_chunk_seconds: float | None
    first_chunk_engine_seconds: float | None
    seconds_per_chunk: float | None
    frames_per_second: float | None
    wall_seconds: float | None
    phases: dict[str, float]


def summarize(job: Job, chunks: Sequence[Chunk]) -> Summary:
    """Time to first chunk counts from the POST; frames per second count from the start of the first chunk."""
    last_chunk_at = chunks[-1].created_at if chunks else None
    making = _seconds(job.started_at, last_chunk_at)
    wall = _seconds(job.created_at, last_chunk_at)
    return Summary(
        first_chunk_seconds=_seconds(job.created_at, job.first_chunk_at),
        first_chunk_engine_seconds=engine_seconds(chunks[0]) if chunks else None,
        seconds_per_chunk=making / len(chunks) if making else None,
        frames_per_second=job.progress.frames_done / making if making else None,
        wall_seconds=wall,
        phases=_phases(chunks, wall),
    )


def _phases(chunks: Sequence[Chunk], wall: float | None) -> dict[str, float]:
    """Seconds by phase over all chunks: PHASES, then other phases of workers, then the rest."""
    more = sorted({phase for chunk in chunks for phase in chunk.timings} - set(PHASES))
    totals = {phase: sum(chunk.timings.get(phase, 0.0) for chunk in chunks) for phase in (*PHASES, *more)}
    shown = {phase: seconds for phase, seconds in totals.items() if phase in PHASES or seconds >= MIN_SHOWN_SECONDS}
    named = sum(shown.values())
    return {**shown, OTHER: max(0.0, (wall or named) - named)}


def engine_seconds(chunk: Chunk) -> float:
    """Time in the engine, as it says itself; its calls of `on_step` included."""
    return sum(seconds for phase, seconds in chunk.timings.items() if phase not in OUTSIDE_ENGINE)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None
