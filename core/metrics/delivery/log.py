"""When the chunks of a job were there, generation by generation, as its event log tells.

Each generation is a delivery of its own, with a viewer of its own: who extends or retries a job has seen what it had,
and waits for the new chunks from then on. So its chunks are those that were completed in it for the first time. A short
last chunk that a generation completes is left out, as by the service's own clock: most of it was there before. Changes
of the prompt, the length or the priority begin nothing new. Pauses, repairs and lost workers are in the times as the
viewer had them.

The log is in order, but its times are of several machines: an entry counts as not earlier than the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any

from core.service.domain.schema import Chunk, EventType, JobEvent, JobSummary, Variant

_VARIANTS: Mapping[str, Variant] = {EventType.CHUNK_COMPLETED: "preview", EventType.CHUNK_REFINED: "refined"}
_ENDS = {
    EventType.JOB_SUCCEEDED: "succeeded",
    EventType.JOB_FAILED: "failed",
    EventType.JOB_CANCELED: "canceled",
}
TRIMMED = "the event log no longer has its beginning"


@dataclass(frozen=True)
class Arrival:
    """A chunk, and when it was there, in seconds since 1970 by the service's clock."""

    index: int
    num_frames: int
    at: float


@dataclass(frozen=True)
class Generation:
    """One generation of a job. Times are seconds since 1970, None for what has not happened."""

    number: int
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None
    outcome: str | None = None
    """`succeeded`, `failed` or `canceled`; None: not ended yet."""
    arrivals: Mapping[Variant, Sequence[Arrival]] = field(default_factory=dict[Variant, Sequence[Arrival]])
    """New chunks in the order in which they were there."""


@dataclass(frozen=True)
class History:
    """The generations of a job that can be measured, oldest first, and what readers must know of them."""

    generations: Sequence[Generation]
    notes: Sequence[str] = ()


@dataclass
class _Reader:
    """Reads a log from an event on that queued the job."""

    queued_at: float
    generation: int
    seen: Mapping[Variant, set[int]]
    """Indexes of the chunks of earlier generations; those of this one are added."""
    started_at: float | None = None
    ended_at: float | None = None
    outcome: str | None = None

    def __post_init__(self) -> None:
        self.arrivals: dict[Variant, list[Arrival]] = {"preview": [], "refined": []}

    def read(self, event: JobEvent, at: float) -> None:
        if event.type == EventType.JOB_STARTED:
            self.started_at = at
        elif event.type in _ENDS:
            self.ended_at, self.outcome = at, _ENDS[EventType(event.type)]
        elif (arrival := _arrival(event, at)) is not None:
            variant = _VARIANTS[event.type]
            if arrival.index not in self.seen[variant]:
                self.seen[variant].add(arrival.index)
                self.arrivals[variant].append(arrival)

    def read_so_far(self) -> Generation:
        times = (self.queued_at, self.started_at, self.ended_at)
        return Generation(
            self.generation, *times, self.outcome, {name: tuple(each) for name, each in self.arrivals.items()}
        )


def history_of(job: JobSummary, events: Iterable[JobEvent], chunks: Sequence[Chunk] = ()) -> History:
    """The generations of `job` from its event log, in order.

    Of a log without its beginning (it keeps the newest 2,000 entries, or is lost) the generations are measured that
    begin in it. A job that never went on is measured by the times of `chunks` instead, all that it has: when they were
    stored, just before their entry of the log. Nothing tells then when its refined chunks were there.
    """
    log = [*events]
    known = _generations(log)
    if is_whole(log):
        return History(known)
    if job.generation == 0:
        of_chunks = "preview chunks are measured by the times at which they were stored, refined ones are not"
        return History([_generation_of(job, chunks)], [f"{TRIMMED}: {of_chunks}"])
    which = "none is" if not known else f"only those from generation {known[0].number} on are"
    return History(known, [f"{TRIMMED}: of its generations {which} measured"])


def is_whole(events: Sequence[JobEvent]) -> bool:
    """Whether the log has its beginning: that the job was queued for the first time."""
    return bool(events) and events[0].type == EventType.JOB_QUEUED and not events[0].data.get("generation")


def _generations(events: Iterable[JobEvent]) -> list[Generation]:
    """The generations whose beginning is in the log."""
    found, reader, at = list[Generation](), None, 0.0
    seen: dict[Variant, set[int]] = {"preview": set(), "refined": set()}
    for event in events:
        at = max(at, event.at.timestamp())
        if event.type == EventType.JOB_QUEUED:
            if reader is not None:
                found.append(reader.read_so_far())
            reader = _Reader(at, int(event.data.get("generation", 0)), seen)
        elif reader is not None:
            reader.read(event, at)
        elif (arrival := _arrival(event, at)) is not None:
            seen[_VARIANTS[event.type]].add(arrival.index)
    return [*found, reader.read_so_far()] if reader is not None else found


def _arrival(event: JobEvent, at: float) -> Arrival | None:
    chunk: Mapping[str, Any] = event.data.get("chunk", {})
    if event.type not in _VARIANTS or "index" not in chunk:
        return None
    return Arrival(int(chunk["index"]), int(chunk["num_frames"]), at)


def _generation_of(job: JobSummary, chunks: Sequence[Chunk]) -> Generation:
    """Its only generation, by the times that the job and its chunks have. A branch's copies were there before it."""
    first = job.branched_from.from_chunk if job.branched_from else 0
    own = [chunk for chunk in chunks if chunk.index >= first]
    times = accumulate((chunk.created_at.timestamp() for chunk in own), max)
    arrivals = [Arrival(chunk.index, chunk.num_frames, at) for chunk, at in zip(own, times, strict=True)]
    return Generation(
        number=0,
        queued_at=job.created_at.timestamp(),
        started_at=_seconds(job.started_at),
        ended_at=_seconds(job.finished_at),
        outcome=job.status.value if job.status.is_terminal else None,
        arrivals={"preview": arrivals, "refined": []},
    )


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
