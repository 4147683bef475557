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
        return self.after(chunk.index, chunk.created_at.timestamp(), seconds_of(chunk.num_frames, rate))

    def after(self, index: int, there_at: float, seconds: float) -> tuple[Playback, float]:
        """The same of a chunk that is there at `there_at`, on the clock of `ends_at`, and plays for `seconds`."""
        begins_at = there_at if self.ends_at is None else max(self.ends_at, there_at)
        stalled_seconds = 0.0 if self.ends_at is None else begins_at - self.ends_at
        return Playback(self.first, index + 1, begins_at + seconds), stalled_seconds
