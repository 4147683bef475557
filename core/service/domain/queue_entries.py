"""What the policy of scheduling.py chooses among, and what it chose. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from core.service.domain.schema import Lane

Key = tuple[str, Lane]
"""A job on a lane."""


@dataclass(frozen=True)
class Entry:
    """A job in the queue of one lane, as the policy sees it. Times are seconds since 1970."""

    job_id: str
    lane: Lane
    owner: str
    priority: int
    """Priority.number."""
    begun: bool
    """Whether it has begun and has an end: it should be finished. One without an end waits in turn like a new one."""
    order: float
    """Equal ones go by this, lower first: when the job was created; of one without an end, when its newest chunk was
    made."""
    waits_since: float
    """Since when it could be claimed; decides on ageing."""
    stalls_at: float | None = None
    """When viewers who began with the first chunk have seen all there is; None: there is nothing to see yet."""
    share: float = 1.0
    """Weight of the owner."""
    pieces: int = 1
    """Pieces of work that are left on the lane; for estimates. 1 if the job has no end."""
    plays_seconds: float = 0.0
    """For how long viewers watch one piece of the generate lane; 0: the piece is nothing to watch."""

    @property
    def key(self) -> Key:
        return self.job_id, self.lane

    def is_ahead(self, now: float, seconds: float) -> bool:
        """Whether viewers may still watch for more than `seconds`."""
        return self.stalls_at is not None and self.stalls_at > now + seconds

    def is_urgent(self, now: float, seconds: float) -> bool:
        """Whether viewers stall within `seconds`, and have not yet."""
        return self.stalls_at is not None and now <= self.stalls_at < now + seconds


class Group(IntEnum):
    """How an owner's jobs follow one another, the first served first."""

    URGENT = 0
    """Viewers stall soon: the one nearest to its stall, whoever's it is."""
    BEGUN = 1
    """To be finished: the oldest, or the one nearest to a stall if the oldest one's viewers are well ahead."""
    NEW = 2
    """The oldest."""
    AHEAD = 3
    """All that has begun is well ahead of its viewers, and no first chunk is missing: the oldest, or the one nearest to
    a stall."""


@dataclass(frozen=True)
class Choice:
    """The next job, and how it was chosen."""

    entry: Entry
    group: Group
    aged: bool = False
