"""An ended job goes on: it is extended or retried, as the next generation of the same id."""

from __future__ import annotations

from datetime import datetime

from core.service.domain.errors import FieldNotSupported, JobNotFound, JobStateConflict
from core.service.domain.prompt_schedule import prompt_at, without_prompts_from
from core.service.domain.refine_plan import is_made, num_pieces
from core.service.domain.schema import (
    EndedGeneration,
    EventType,
    JobExtension,
    JobRecord,
    JobSpec,
    JobStatus,
    LaneState,
)
from core.service.domain.transitions.counting import with_frames_counted
from core.service.domain.transitions.length import length_before
from core.service.domain.transitions.rules import ALL_LANES, frames_made_or_shared, needs_media_again
from core.service.domain.transitions.steering import with_prompt
from core.service.domain.transitions.transition import (
    Transition,
    moved_to,
    require_not_deleted,
    started_if_made,
    together,
    with_event,
)

MAX_GENERATIONS = 1000
"""A job's record keeps how each of them ended."""


def retry(record: JobRecord, at: datetime) -> Transition:
    """A failed or canceled job goes on from its last good chunk, to the length that was asked for.

    Idempotent for the same `at`. Raises JobStateConflict; JobNotFound for a job that is about to expire.
    """
    if _has_gone_on(record, at):
        return Transition(record)
    _require_can_go_on(record, at)
    if record.status is JobStatus.SUCCEEDED:
        raise JobStateConflict("the job has succeeded, so there is nothing to retry", fix="extend it, or branch it")
    if not record.status.is_terminal:
        raise JobStateConflict(f"a job that is {record.status} cannot be retried", fix="wait for its end, or cancel it")
    if record.status is JobStatus.CANCELED and is_made(record):
        raise JobStateConflict("everything was made before the job was canceled", fix="extend it, or branch it")
    return _gone_on(record, record.spec, at)


def extend(record: JobRecord, extension: JobExtension, at: datetime) -> Transition:
    """A succeeded job gets so many more frames; a canceled one goes on and ends so many frames after those it has. A
    prompt acts from the first of them on, instead of all that were to begin there or later.

    Idempotent for the same `at`. Raises JobStateConflict, FieldNotSupported; JobNotFound for a job that is about to
    expire.
    """
    if _has_gone_on(record, at):
        return Transition(record)
    _require_can_go_on(record, at)
    if record.status is JobStatus.FAILED:
        raise JobStateConflict("the job has failed", fix="retry it first, or branch it")
    if not record.status.is_terminal:
        raise JobStateConflict(
            f"a job that is {record.status} cannot be extended", fix="wait for its end, or cancel it first"
        )
    if record.spec.refine is not None and record.spec.refine.schedule == "lockstep":
        message = "its frames were refined all together (`refine.schedule` lockstep), which more frames would change"
        raise FieldNotSupported(message, field="num_frames", fix="submit a job with the whole length")
    first = frames_made_or_shared(record)
    longer = record.spec.model_copy(update={"num_frames": first + extension.num_frames, "endless_limit": None})
    if extension.prompt is None:
        return _gone_on(record, longer, at)
    longer = without_prompts_from(longer, first)
    gone_on = _gone_on(record, longer, at)
    if prompt_at(longer, first) == extension.prompt:
        return gone_on
    return together(gone_on, with_prompt(gone_on.record, extension.prompt, first, at))


def _has_gone_on(record: JobRecord, at: datetime) -> bool:
    """Whether this very change was made already, and its answer lost."""
    return bool(record.earlier) and record.earlier[-1].next_at == at and not record.status.is_terminal


def _require_can_go_on(record: JobRecord, at: datetime) -> None:
    require_not_deleted(record)
    if record.expires_at is not None and record.expires_at <= at:
        raise JobNotFound(f"{record.id} has expired")
    if record.generation >= MAX_GENERATIONS:
        message = f"the job went on {MAX_GENERATIONS} times, which is the limit"
        raise JobStateConflict(message, fix="branch it")


def _gone_on(record: JobRecord, spec: JobSpec, at: datetime) -> Transition:
    """The job as its next generation. What is made stays; if no chunk is to be made it starts at once."""
    assert record.finished_at is not None, record.id
    ended = EndedGeneration(
        status=record.status,
        started_at=record.begun_at,
        ended_at=record.finished_at,
        next_at=at,
        version=record.version,
        error=record.error,
    )
    queued = moved_to(
        record,
        JobStatus.QUEUED,
        spec=spec,
        earlier=(*record.earlier, ended),
        length_changes=(*record.length_changes, *length_before(record, spec)),
        chunks=record.chunks.at_new_start,
        refined=record.refined.at_new_start,
        refine_done=_pieces_kept(record, spec),
        lanes={name: LaneState(token=state.token + 1) for name, state in record.lanes.items()},
        prepared=None,
        followed_sha256=record.input_sha256,
        prepare_again=needs_media_again(record),
        media_repairs=0,
        resumed_at=None,
        cancel_requested=False,
        error=None,
        finished_at=None,
        expires_at=None,
    )
    counted = with_frames_counted(record, queued, at)
    told = with_event(counted, EventType.JOB_QUEUED, at, cleared_progress=ALL_LANES, revoked=ALL_LANES)
    return started_if_made(told, at)


def _pieces_kept(record: JobRecord, spec: JobSpec) -> int:
    """Pieces of refinement that need not be made again. The last one of a shorter video ended it, so that its window
    may have slid back, and it left no frames to be blended."""
    if record.spec.refine is None or spec.num_frames == record.spec.num_frames:
        return record.refine_done
    return min(record.refine_done, num_pieces(record.spec) - 1)
