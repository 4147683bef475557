"""Measuring the video of an ended job: asking for it, and how it ends.

Its lane has work after the job's end only, so the status never says anything of it: a job has succeeded whether or not
it is, or can be, measured.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from core.service.domain.errors import JobNotFound, JobStateConflict, StaleLease, shortened
from core.service.domain.ports import Lease
from core.service.domain.schema import EventType, JobError, JobRecord, Lane, LaneState, Measurement
from core.service.domain.transitions.rules import awaits_measuring, has_final_video
from core.service.domain.transitions.transition import (
    Transition,
    require_newest_lease,
    require_not_deleted,
    updated,
    with_event,
    with_lane,
    with_revision,
)

MAX_MEASUREMENTS = 20
"""Of one generation. A job's record keeps all of them: their events are rewritten when it is rebuilt."""
MAX_ERROR_CHARS = 300
"""Of the message and of the fix of a measurement."""


def ask_measuring(record: JobRecord, at: datetime, instead_of: Measurement | None = None) -> Transition:
    """The job is measured at its end, or now if it has ended; again if it could not be measured before. `instead_of`:
    a measurement whose metrics are lost or lack something, which is made anew if it is the newest. Idempotent.

    Raises JobStateConflict for an ended job without a video; JobNotFound for a job that is about to expire.
    """
    require_not_deleted(record)
    if record.expires_at is not None and record.expires_at <= at:
        raise JobNotFound(f"{record.id} has expired")
    asked = updated(record, spec=record.spec.model_copy(update={"measure": True}))
    if not record.status.is_terminal:
        return Transition(record) if record.spec.measure else with_revision(Transition(asked))
    if not has_final_video(record):
        raise JobStateConflict(f"the job is {record.status} and has no video to measure", fix="retry it first")
    newest = record.measurement
    if awaits_measuring(record) or (newest is not None and newest.error is None and newest != instead_of):
        return Transition(record)
    if sum(one.generation == record.generation for one in record.measurements) >= MAX_MEASUREMENTS:
        message = f"the video was measured {MAX_MEASUREMENTS} times, or tried to be, which is the limit"
        raise JobStateConflict(message, fix="download it and run `longtake evaluate` on the file")
    fresh = with_lane(asked, Lane.MEASURE, LaneState(token=record.lane(Lane.MEASURE).token))
    # Later than the measurement that failed, also if the clocks of two machines differ.
    asked_at = at if newest is None else max(at, newest.at + timedelta(microseconds=1))
    return with_revision(Transition(updated(fresh, measure_asked_at=asked_at)))


def commit_measurement(record: JobRecord, lease: Lease, at: datetime) -> Transition:
    """The metrics are stored. Idempotent under one lease.

    Raises StaleLease if the token is old, or nothing is to be measured any more.
    """
    require_newest_lease(record, lease)
    if record.measurement is not None:
        return Transition(record)
    if not awaits_measuring(record):
        raise StaleLease(f"{record.id} is not to be measured: {record.status}")
    return _measured(record, at)


def give_up_measuring(record: JobRecord, generation: int, error: JobError, at: datetime) -> Transition:
    """The video of this generation cannot be measured. The job stays what it is. Idempotent."""
    require_not_deleted(record)
    if record.generation != generation or not awaits_measuring(record):
        return Transition(record)
    return _measured(record, at, error)


def _measured(record: JobRecord, at: datetime, error: JobError | None = None) -> Transition:
    at = max(at, record.measure_asked_at or at, record.finished_at or at)  # by the clocks of other machines
    entry = None if record.num_events is None else record.num_events + 1
    short = None if error is None else _shortened(error)
    measurement = Measurement(at=at, entry=entry, generation=record.generation, error=short)
    free = with_lane(record, Lane.MEASURE, LaneState(token=record.lane(Lane.MEASURE).token))
    told = updated(free, measurements=(*record.measurements, measurement))
    # Not counted as a commit: CPU workers may make progress during an outage of all engine workers.
    return replace(with_event(told, EventType.JOB_MEASURED, at, released=Lane.MEASURE), is_prepared=error is None)


def _shortened(error: JobError) -> JobError:
    fix = None if error.fix is None else shortened(error.fix, MAX_ERROR_CHARS)
    return error.model_copy(update={"message": shortened(error.message, MAX_ERROR_CHARS), "fix": fix})
