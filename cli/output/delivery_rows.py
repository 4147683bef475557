"""Deliveries as rows of a picture or a table, and what a viewer had over time in each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from core.metrics.delivery.measure import GenerationDelivery, JobDelivery, VariantDelivery
from core.service.domain.schema import Variant

Kind = Literal["queued", "first", "buffer", "playback", "stall"]


@dataclass(frozen=True)
class Row:
    """One generation of a job in one variant."""

    job: JobDelivery
    generation: GenerationDelivery
    variant: Variant
    made: VariantDelivery | None
    """None: no chunk yet."""

    @property
    def which(self) -> str:
        """What sets it apart from other rows of its job; empty for the first generation's preview."""
        generation = f"generation {self.generation.number}" if self.generation.number else ""
        return f"{generation} {'refined' if self.variant == 'refined' else ''}".strip()

    @property
    def verdict(self) -> str:
        """The stalls in words."""
        if self.made is None:
            return "no chunk"
        count = len(self.made.viewing.stalls)
        so_far = "" if self.generation.has_succeeded else " so far"
        if not count:
            return f"no stall{so_far}"
        return f"{count} stall{'s' if count > 1 else ''}, {self.made.viewing.stalled_seconds:.1f} s{so_far}"


def rows_of(measured: Sequence[JobDelivery]) -> list[Row]:
    """Each generation's preview, and its refined chunks if there are any."""
    return [row for job in measured for row in _rows(job)]


def _rows(job: JobDelivery) -> Iterator[Row]:
    for generation in job.generations:
        yield Row(job, generation, "preview", generation.preview)
        if generation.refined is not None:
            yield Row(job, generation, "refined", generation.refined)


def names_of(rows: Sequence[Row]) -> list[str]:
    """A number, by which the table calls the row; the id in a job's first row; what sets the row apart."""
    names: list[str] = []
    before: JobDelivery | None = None
    for number, row in enumerate(rows, 1):
        job_id = row.job.job_id if row.job is not before else ""
        names.append(" ".join(part for part in (str(number), job_id, row.which) if part))
        before = row.job
    return names


def seconds_of_all(rows: Sequence[Row]) -> float:
    """From queued to the end of the longest viewing; 0 without any."""
    return max((row.made.viewing.ends_at for row in rows if row.made), default=0.0)


@dataclass(frozen=True)
class Segment:
    """What the viewer had from `begins` to `ends`, seconds since the generation was queued."""

    kind: Kind
    begins: float
    ends: float


def segments(row: Row) -> list[Segment]:
    """Without gaps, those of no length left out. Empty: no chunk yet."""
    if row.made is None:
        return []
    viewing, started = row.made.viewing, row.generation.queue_seconds or 0.0
    found = [
        Segment("queued", 0.0, started),
        Segment("first", started, row.made.first_chunk_seconds),
        Segment("buffer", row.made.first_chunk_seconds, viewing.begins_at),
    ]
    at = viewing.begins_at
    for stall in viewing.stalls:
        found += [Segment("playback", at, stall.at), Segment("stall", stall.at, stall.at + stall.seconds)]
        at = stall.at + stall.seconds
    found.append(Segment("playback", at, viewing.ends_at))
    return [segment for segment in found if segment.ends > segment.begins]
