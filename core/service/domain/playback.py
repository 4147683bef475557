"""What a viewer has seen who began with the first chunk of a generation, plays at the job's rate, and waits where a
chunk is late. A job has one such clock, whether or not anybody watches; pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from core.service.domain.frame_rate import seconds_of
from core.service.domain.schema import ChunkRecord


@dataclass(frozen=True)
class Playback:
    """The viewer's clock after the chunks from index `first` to before `next`."""

    first: int
    """Index of the first chunk of the generation."""
    next: int
    ends_at: float | None = None
    """When all of these are seen, in seconds since 1970. None: there is none yet. Later than Entry.stalls_at by all
    stalls so far: a clock that stopped goes on later by that time."""

    @classmethod
    def beginning_at(cls, first: int) -> Playback:
        return cls(first, first)

    def followed_by(self, chunk: ChunkRecord, rate: int | Fraction) -> tuple[Playback, float]:
        """The clock after the next chunk, and how many seconds the viewer waited for that (0: it was there in time).

        A chunk is there when it is stored (`created_at`); its commit follows at once unless Redis is away."""
        there_at = chunk.created_at.timestamp()
        begins_at = there_at if self.ends_at is None else max(self.ends_at, there_at)
        stalled_seconds = 0.0 if self.ends_at is None else begins_at - self.ends_at
        ends_at = begins_at + seconds_of(chunk.num_frames, rate)
        return Playback(self.first, chunk.index + 1, ends_at), stalled_seconds
