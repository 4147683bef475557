"""How a job's video reached its viewers: first chunk, cadence, deadlines, stalls. Pure, from the job's event log.

Times are durations in seconds, >= 0, by the service's clock. A chunk is there when its commit is in the event log:
then its URL and the playlist have it. What peers measure under these names: vllm-project/vllm-omni#7645 (time to first
chunk, inter-arrival percentiles, deadlines met, a simulated viewer).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from core.metrics.delivery.log import Arrival, Generation, history_of
from core.metrics.delivery.spread import Spread
from core.metrics.delivery.viewer import Viewing, deadlines_met, lateness, smallest_buffer, watch
from core.service.domain.frame_rate import seconds_of
from core.service.domain.schema import Chunk, JobEvent, JobSummary, Variant


@dataclass(frozen=True)
class VariantDelivery:
    """How the new chunks of one variant in one generation reached their viewers: at least one chunk."""

    num_chunks: int
    num_frames: int
    video_seconds: float
    """Seconds of video in them: frames / fps."""
    first_chunk_seconds: float
    """Time to first chunk, from the moment the generation was queued."""
    first_chunk_after_start_seconds: float | None
    """The same from the moment a worker started it; None if the log does not have that."""
    gaps: Spread | None
    """Inter-arrival times, t_k - t_(k-1), in seconds. None of one chunk."""
    gap_seconds: Sequence[float]
    """All of these, in order."""
    realtime_factor: float | None
    """Seconds of video made per second: those of the chunks after the first, over the time from the first chunk to the
    last, as `progress.realtime_factor` counts. At 1 and above it keeps up on average, which excludes no stall. None of
    one chunk, or if all were there at once."""
    num_deadlines: int
    """Chunks after the first."""
    deadlines_met: int
    """How many of them were there in time: see viewer.lateness. With `buffer_seconds`."""
    viewing: Viewing
    """What a viewer saw who began `buffer_seconds` after the first chunk; its times are seconds since the generation
    was queued."""
    smallest_buffer_seconds: float
    """The smallest start-up buffer without any stall: max(0, the largest lateness of a chunk without one)."""

    @property
    def deadlines_met_share(self) -> float | None:
        """0 to 1; None of one chunk, which has no deadline."""
        return self.deadlines_met / self.num_deadlines if self.num_deadlines else None

    @property
    def pace(self) -> float | None:
        """Seconds of video per second since the generation was queued, to its last chunk: what a job got of a service
        that others use too. None if that took no time."""
        seconds = self.first_chunk_seconds + sum(self.gap_seconds)
        return self.video_seconds / seconds if seconds > 0 else None


@dataclass(frozen=True)
class GenerationDelivery:
    """One generation of a job: 0, and one more for each time it was extended or retried."""

    number: int
    outcome: str | None
    """`succeeded`, `failed` or `canceled`; None: it has not ended, and is measured so far."""
    queue_seconds: float | None
    """From queued to started; None: it has not started."""
    whole_video_seconds: float | None
    """From queued to the final MP4; None unless it has succeeded."""
    preview: VariantDelivery | None
    """None: no chunk yet."""
    refined: VariantDelivery | None
    """None: no refined chunk, or none asked for."""

    @property
    def has_succeeded(self) -> bool:
        """False: its figures are of what it has so far, or had until it failed or was canceled."""
        return self.outcome == "succeeded"

    def variants(self) -> dict[Variant, VariantDelivery]:
        """Those that there are."""
        both: dict[Variant, VariantDelivery | None] = {"preview": self.preview, "refined": self.refined}
        return {name: one for name, one in both.items() if one is not None}


@dataclass(frozen=True)
class JobDelivery:
    """All generations of a job that its log tells of."""

    job_id: str
    status: str
    fps: int | Fraction
    buffer_seconds: float
    generations: Sequence[GenerationDelivery]
    variants: Sequence[Variant]
    """What the job is to make: previews, and refined chunks if they are asked for."""
    notes: Sequence[str]
    """Sentences: what is not measured and why, what the figures leave out."""


def measure_job(
    job: JobSummary, events: Iterable[JobEvent], chunks: Sequence[Chunk] = (), buffer_seconds: float = 0.0
) -> JobDelivery:
    """Measure a job by its log. `chunks` are needed only if the log has lost its beginning (`history_of`)."""
    history = history_of(job, events, chunks)
    generations = [
        _generation_delivery(generation, job.request.fps, buffer_seconds) for generation in history.generations
    ]
    notes = [*history.notes, *_notes(job, generations)]
    variants: Sequence[Variant] = ("preview",) if job.request.refine is None else ("preview", "refined")
    return JobDelivery(job.id, job.status.value, job.request.fps, buffer_seconds, generations, variants, notes)


def _notes(job: JobSummary, generations: Sequence[GenerationDelivery]) -> Iterable[str]:
    for generation in generations:
        which = f"generation {generation.number}" if len(generations) > 1 else "the job"
        if generation.outcome is None:
            yield f"{which} has not ended ({job.status.value}): measured so far; a wait that is not over counts nowhere"
        elif generation.outcome != "succeeded":
            has_ended = "has failed" if generation.outcome == "failed" else f"was {generation.outcome}"
            yield f"{which} {has_ended}: of the frames that were not made nothing is counted"
    if job.branched_from is not None:
        yield f"the first {job.branched_from.from_chunk} chunks are copies of another job's and are not measured"


def _generation_delivery(generation: Generation, fps: int | Fraction, buffer_seconds: float) -> GenerationDelivery:
    def of(variant: Variant) -> VariantDelivery | None:
        arrivals = generation.arrivals.get(variant, ())
        return _variant_delivery(generation, arrivals, fps, buffer_seconds) if arrivals else None

    started, ended = _since(generation, generation.started_at), _since(generation, generation.ended_at)
    whole = ended if generation.outcome == "succeeded" else None
    return GenerationDelivery(generation.number, generation.outcome, started, whole, of("preview"), of("refined"))


def _since(generation: Generation, at: float | None) -> float | None:
    """Seconds since the generation was queued."""
    return None if at is None else at - generation.queued_at


def _variant_delivery(
    generation: Generation, arrivals: Sequence[Arrival], fps: int | Fraction, buffer_seconds: float
) -> VariantDelivery:
    there_at = [arrival.at - generation.queued_at for arrival in arrivals]
    seconds = [seconds_of(arrival.num_frames, fps) for arrival in arrivals]
    num_frames = sum(arrival.num_frames for arrival in arrivals)
    gaps, late = [after - before for before, after in pairwise(there_at)], lateness(there_at, seconds)
    begun = generation.started_at
    taken = there_at[-1] - there_at[0]
    return VariantDelivery(
        num_chunks=len(arrivals),
        num_frames=num_frames,
        video_seconds=seconds_of(num_frames, fps),
        first_chunk_seconds=there_at[0],
        first_chunk_after_start_seconds=None if begun is None else arrivals[0].at - begun,
        gaps=Spread.of(gaps),
        gap_seconds=gaps,
        realtime_factor=sum(seconds[1:]) / taken if taken > 0 else None,
        num_deadlines=len(late),
        deadlines_met=deadlines_met(late, buffer_seconds),
        viewing=watch(there_at, seconds, buffer_seconds),
        smallest_buffer_seconds=smallest_buffer(late),
    )
