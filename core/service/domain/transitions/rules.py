"""The status graph, and what a record says about work to do."""

from __future__ import annotations

from core.service.domain.refine_plan import is_ready
from core.service.domain.schema import LANES_WITH_STEPS, JobRecord, JobStatus, Lane, LaneState

NEXT_STATUSES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.CANCELING, JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.CANCELING: frozenset({JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.FINALIZING: frozenset({JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}
"""The status graph. A job whose chunks are damaged goes back from finalizing. Nothing leads to expired yet: retention
removes a job altogether."""


ACTIVE_STATUSES = tuple(status for status in JobStatus if not status.is_terminal)


TAKES_CHUNKS = frozenset({JobStatus.RUNNING, JobStatus.CANCELING})


ALL_LANES = tuple(Lane)


POISON_DEATHS = 5
"""A piece of a job that ended so many workers, while other jobs got on each time, is what ends them."""


LONELY_DEATHS = 20
"""The same where no other job was there to compare with: machines end for many reasons."""


def is_same_job(one: JobRecord, other: JobRecord) -> bool:
    """Whether these are of one job, however far it has got."""
    return (one.id, one.spec, one.created_at) == (other.id, other.spec, other.created_at)


def wants(record: JobRecord, lane: Lane) -> bool:
    """Whether there is work for this lane now."""
    if record.delete_requested:
        return False
    if lane is Lane.PREPARE:
        return record.status in {JobStatus.QUEUED, JobStatus.RUNNING} and awaits_media(record)
    if lane is Lane.FINALIZE:
        return record.status is JobStatus.FINALIZING
    if lane is Lane.REFINE:
        return record.status is JobStatus.RUNNING and not record.repairs and is_ready(record)
    if awaits_media(record):
        return False
    if record.repairs:
        return record.status is JobStatus.RUNNING
    return record.status in {JobStatus.QUEUED, JobStatus.RUNNING} and not record.is_complete


def awaits_media(record: JobRecord) -> bool:
    """Whether the image or video that the job begins with must be prepared before anything is generated: needed for
    chunk 0 only, and where that (or the state after it) must be made again."""
    given = record.spec.image is not None or record.spec.video is not None
    return given and record.prepared is None and (not record.chunks or record.prepare_again)


def lanes_with_progress(record: JobRecord) -> tuple[Lane, ...]:
    """Lanes of which a step may have been reported."""
    if record.status is not JobStatus.RUNNING:
        return ()
    return LANES_WITH_STEPS if record.spec.refine else (Lane.GENERATE,)


def is_prepared_ahead(record: JobRecord) -> bool:
    """Whether the job's media are ready and it has not begun."""
    return record.status is JobStatus.QUEUED and record.prepared is not None and not record.delete_requested


def rank(record: JobRecord) -> int:
    """Which jobs come first where several want a lane: what has begun, then what is new; among equals the oldest."""
    return 1 if record.status is JobStatus.QUEUED else 0


def is_poison(state: LaneState) -> bool:
    """Whether a lane's piece has ended so many workers that it will end the next one, too."""
    return state.deaths - state.lonely_deaths >= POISON_DEATHS or state.deaths >= LONELY_DEATHS


def should_stop(record: JobRecord) -> bool:
    """Whether a worker that is making or refining a chunk of this job shall stop at its next step."""
    return record.cancel_requested or record.delete_requested or record.status.is_terminal
