"""How much work the workers of a pool have, and how many workers it needs: the signals for autoscaling. Pure.

A pool is what competes for the same workers; see scheduling.Pool.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil

from core.service.domain.scheduling import Entry


@dataclass(frozen=True)
class LaneWork:
    """The open work of one lane of a pool."""

    queued_jobs: int
    """Jobs that no worker has begun, and begun ones without an end, which take turns with them."""
    begun_jobs: int
    """Jobs that are to be finished."""
    pieces: int
    """Pieces that all of them have left: chunks, refinement pieces, inputs to prepare, videos to finalize. 1 of a job
    without an end."""
    mean_seconds: float | None
    """Worker seconds of a piece, lately. None before any was timed."""
    streams: int = 0
    """Those of `queued_jobs` without an end that have a chunk."""
    pace: float | None = None
    """Worker seconds for a second of video, lately. None before any was timed, and where nobody watches the lane."""

    @property
    def of_a_worker(self) -> float:
        """The part of a worker that the viewers of one job need: at most one works at it."""
        return min(1.0, self.pace or 0.0)


@dataclass(frozen=True)
class PoolDemand:
    """The open work of a pool, and who works on it now."""

    pool: str
    """The name of a model; `prepare` or `finalize` for the CPU workers."""
    queued_jobs: int
    begun_jobs: int
    """See LaneWork. A job that is generated and refined counts for each of the two lanes: two workers can make it."""
    queue_seconds: float | None
    """Expected worker seconds of all open pieces, those in work included. None if there is work and none of it was ever
    timed; a lane that was never timed adds nothing to the others."""
    active_workers: int
    """Lanes that workers hold now. One whose worker died counts until the janitor's next pass."""
    viewers_need: float = 0.0
    """Workers that make `begun_jobs` as fast as they are watched."""
    streams_need: float = 0.0
    """Workers that make the begun jobs without an end as fast as they are watched, for as long as these last."""

    @property
    def jobs(self) -> int:
        """Jobs that can be worked on at once."""
        return self.queued_jobs + self.begun_jobs


def lane_work(entries: Collection[Entry], mean_seconds: float | None, pace: float | None) -> LaneWork:
    """Of all entries of a lane, those of claimed jobs too."""
    begun = sum(entry.begun for entry in entries)
    streams = sum(not entry.begun and entry.stalls_at is not None for entry in entries)
    pieces = sum(entry.pieces for entry in entries)
    return LaneWork(len(entries) - begun, begun, pieces, mean_seconds, streams, pace)


def pool_demand(pool: str, lanes: Iterable[LaneWork], active_workers: int) -> PoolDemand:
    """What the lanes of a pool add up to."""
    busy = [lane for lane in lanes if lane.queued_jobs + lane.begun_jobs > 0]
    timed = [lane.pieces * lane.mean_seconds for lane in busy if lane.mean_seconds is not None]
    return PoolDemand(
        pool,
        queued_jobs=sum(lane.queued_jobs for lane in busy),
        begun_jobs=sum(lane.begun_jobs for lane in busy),
        queue_seconds=None if busy and not timed else sum(timed),
        active_workers=active_workers,
        viewers_need=sum(lane.begun_jobs * lane.of_a_worker for lane in busy),
        streams_need=sum(lane.streams * lane.of_a_worker for lane in busy),
    )


def desired_workers(demand: PoolDemand, target_seconds: float, minimum: int = 0, maximum: int | None = None) -> int:
    """How many workers would do the open work within `target_seconds`, and at least as fast as viewers watch what has
    begun, from `minimum` to `maximum` (None: any number). What has no end is never done: its workers come on top.

    Never more than there are jobs to work on, because one worker at a time makes a lane of a job; 1 where there is work
    that was never timed.
    """
    in_time = max((demand.queue_seconds or 0.0) / target_seconds, demand.viewers_need)
    needed = min(demand.jobs, max(1, ceil(in_time + demand.streams_need)))
    return max(minimum, needed if maximum is None else min(maximum, needed))
