"""Delivery of several jobs together: how their figures are spread, and whether they were served alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.metrics.delivery.measure import JobDelivery, RunDelivery, VariantDelivery
from core.metrics.delivery.spread import Spread, jain
from core.service.domain.schema import Variant


@dataclass(frozen=True)
class SeveralDeliveries:
    """Of all generations with a chunk of one variant, of several jobs. A spread is None if none has the figure."""

    num_runs: int
    queue_seconds: Spread | None
    first_chunk_seconds: Spread | None
    gap_seconds: Spread | None
    """Of all gaps between chunks, of all jobs together: long jobs weigh more."""
    stalls: Spread | None
    """Number of stalls in a generation."""
    stalled_seconds: Spread | None
    """Of a generation, all its stalls together."""
    smallest_buffer_seconds: Spread | None
    realtime_factor: Spread | None
    whole_video_seconds: Spread | None
    num_deadlines: int
    deadlines_met: int
    without_stall: int
    """Generations whose viewer never had to wait."""
    fairness: float | None
    """Jain's index of the pace (VariantDelivery.pace): 1 if every job got as many seconds of video per second. Low also
    for jobs that differ in what they asked for or in when they came. None of one generation."""

    @property
    def deadlines_met_share(self) -> float | None:
        """Of all chunks with a deadline, 0 to 1; None if there is none."""
        return self.deadlines_met / self.num_deadlines if self.num_deadlines else None


def measure_several(deliveries: Iterable[JobDelivery], variant: Variant = "preview") -> SeveralDeliveries:
    """Each generation counts once, also an unfinished one with what it has so far."""
    pairs = list(_with_chunks(deliveries, variant))
    runs, made = [run for run, _ in pairs], [one for _, one in pairs]
    paces = list(_known(one.pace for one in made))
    return SeveralDeliveries(
        num_runs=len(pairs),
        queue_seconds=_spread(run.queue_seconds for run in runs),
        first_chunk_seconds=_spread(one.first_chunk_seconds for one in made),
        gap_seconds=_spread(gap for one in made for gap in one.gap_seconds),
        stalls=_spread(float(len(one.viewing.stalls)) for one in made),
        stalled_seconds=_spread(one.viewing.stalled_seconds for one in made),
        smallest_buffer_seconds=_spread(one.smallest_buffer_seconds for one in made),
        realtime_factor=_spread(one.realtime_factor for one in made),
        whole_video_seconds=_spread(run.whole_video_seconds for run in runs),
        num_deadlines=sum(one.num_deadlines for one in made),
        deadlines_met=sum(one.deadlines_met for one in made),
        without_stall=sum(not one.viewing.stalls for one in made),
        fairness=jain(paces) if len(paces) > 1 else None,
    )


def _with_chunks(deliveries: Iterable[JobDelivery], variant: Variant) -> Iterator[tuple[RunDelivery, VariantDelivery]]:
    for delivery in deliveries:
        for run in delivery.runs:
            if (made := run.variants().get(variant)) is not None:
                yield run, made


def _known(values: Iterable[float | None]) -> Iterator[float]:
    return (value for value in values if value is not None)


def _spread(values: Iterable[float | None]) -> Spread | None:
    known: Sequence[float] = [*_known(values)]
    return Spread.of(known)
