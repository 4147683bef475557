"""Delivery of several jobs together: how their figures are spread, and whether they were served alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.metrics.delivery.measure import GenerationDelivery, JobDelivery, VariantDelivery
from core.metrics.delivery.spread import Spread, jain
from core.service.domain.schema import Variant


@dataclass(frozen=True)
class SeveralDeliveries:
    """Of all generations with a chunk of one variant, of several jobs. A spread is None if none has the figure."""

    num_generations: int
    without_chunk: int
    """Generations of the same jobs that have none of the variant, though it is asked for: they wait, or ended before
    their first chunk. They are in no other figure, which is why those look better the more of them there are."""
    so_far: int
    """Generations that have not succeeded: counted by what they have so far, or had until they ended."""
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
    """Generations whose viewer never had to wait, so far."""
    fairness: float | None
    """Jain's index of the pace (VariantDelivery.pace): 1 if every job got as many seconds of video per second. Low also
    for jobs that differ in what they asked for or in when they came. None of one generation."""

    @property
    def deadlines_met_share(self) -> float | None:
        """Of all chunks with a deadline, 0 to 1; None if there is none."""
        return self.deadlines_met / self.num_deadlines if self.num_deadlines else None


def measure_several(deliveries: Sequence[JobDelivery], variant: Variant = "preview") -> SeveralDeliveries:
    """Each generation counts once, also an unfinished one with what it has so far."""
    pairs = list(_with_chunks(deliveries, variant))
    generations, made = [generation for generation, _ in pairs], [one for _, one in pairs]
    paces = list(_known(one.pace for one in made))
    return SeveralDeliveries(
        num_generations=len(pairs),
        without_chunk=_without_chunk(deliveries, variant),
        so_far=sum(not generation.has_succeeded for generation in generations),
        queue_seconds=_spread(generation.queue_seconds for generation in generations),
        first_chunk_seconds=_spread(one.first_chunk_seconds for one in made),
        gap_seconds=_spread(gap for one in made for gap in one.gap_seconds),
        stalls=_spread(float(len(one.viewing.stalls)) for one in made),
        stalled_seconds=_spread(one.viewing.stalled_seconds for one in made),
        smallest_buffer_seconds=_spread(one.smallest_buffer_seconds for one in made),
        realtime_factor=_spread(one.realtime_factor for one in made),
        whole_video_seconds=_spread(generation.whole_video_seconds for generation in generations),
        num_deadlines=sum(one.num_deadlines for one in made),
        deadlines_met=sum(one.deadlines_met for one in made),
        without_stall=sum(not one.viewing.stalls for one in made),
        fairness=jain(paces) if len(paces) > 1 else None,
    )


def _without_chunk(deliveries: Iterable[JobDelivery], variant: Variant) -> int:
    """One that has succeeded without a new chunk has lacked none: it was extended within its last chunk, or retried
    for its final video alone."""
    return sum(
        variant not in generation.variants() and not generation.has_succeeded
        for one in deliveries
        if variant in one.variants
        for generation in one.generations
    )


def _with_chunks(
    deliveries: Iterable[JobDelivery], variant: Variant
) -> Iterator[tuple[GenerationDelivery, VariantDelivery]]:
    for delivery in deliveries:
        for generation in delivery.generations:
            if (made := generation.variants().get(variant)) is not None:
                yield generation, made


def _known(values: Iterable[float | None]) -> Iterator[float]:
    return (value for value in values if value is not None)


def _spread(values: Iterable[float | None]) -> Spread | None:
    known: Sequence[float] = [*_known(values)]
    return Spread.of(known)
