"""Claiming a lane, releasing it, and counting the deaths of its workers."""

from __future__ import annotations

from datetime import datetime

from core.service.domain.ports import Lease
from core.service.domain.schema import EventType, JobRecord, JobStatus, Lane, LaneState
from core.service.domain.transitions.rules import is_kept, wants
from core.service.domain.transitions.transition import (
    Transition,
    finalizing_if_canceled,
    moved_to,
    updated_lane,
    with_event,
    with_lane,
)


def claim(record: JobRecord, lane: Lane, at: datetime, commits: int) -> Transition:
    """Claim the lane with the next fencing token. The first claim of a lane other than prepare starts the job.

    A lane still held by an earlier claim was left by a worker that died. `commits` counts the commits of all jobs.
    """
    assert wants(record, lane), (record.id, record.status, lane)
    state = _with_death_counted(record.lane(lane), commits)
    held = updated_lane(state, token=state.token + 1, held=True, commits_at_claim=commits)
    claimed = with_lane(record, lane, held)
    if record.status is not JobStatus.QUEUED or lane is Lane.PREPARE:
        return Transition(claimed)
    begun = {"started_at": record.started_at or at, "resumed_at": at if record.generation else None}
    return with_event(moved_to(claimed, JobStatus.RUNNING, **begun), EventType.JOB_STARTED, at)


def release(record: JobRecord, lease: Lease, *, count_attempt: bool, rest_seconds: float = 0.0) -> Transition | None:
    """Release the lane without a commit. None if the lease is not the newest one or was already released.

    A lane that was kept is released, too: the answer to that commit may have been lost."""
    state = record.lane(lease.lane)
    if not state.held or not (state.token == lease.token or is_kept(state, lease)):
        return None
    attempts = state.attempts + 1 if count_attempt else state.attempts
    return _with_lane_freed(record, lease.lane, updated_lane(state, held=False, attempts=attempts), rest_seconds)


def abandon(record: JobRecord, lane: Lane, token: int, commits: int) -> Transition | None:
    """Release the lane of a worker that died with `token`. None if it no longer holds the lane."""
    state = record.lane(lane)
    if state.token != token or not state.held:
        return None
    return _with_lane_freed(record, lane, _with_death_counted(state, commits))


def _with_death_counted(state: LaneState, commits: int) -> LaneState:
    """Count a death if the lane is held: a live worker commits or releases first."""
    if not state.held:
        return state
    lonely = state.lonely_deaths + (commits == state.commits_at_claim)
    return updated_lane(state, held=False, deaths=state.deaths + 1, lonely_deaths=lonely)


def _with_lane_freed(record: JobRecord, lane: Lane, state: LaneState, rest_seconds: float = 0.0) -> Transition:
    """Free the lane; a canceling job without held lanes moves to finalizing."""
    free = finalizing_if_canceled(with_lane(record, lane, state))
    return Transition(free, released=lane, rest_seconds=rest_seconds, cleared_progress=(lane,))
