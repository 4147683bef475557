"""Changing the prompt, the length, the metadata and the priority of a job that has not ended."""

from __future__ import annotations

from datetime import datetime

from core.service.domain.errors import InvalidField, JobStateConflict
from core.service.domain.prompt_schedule import prompt_at, prompt_start, with_prompt_from
from core.service.domain.schema import EventType, JobChange, JobRecord, JobStatus, Steering
from core.service.domain.transitions.counting import with_frames_counted
from core.service.domain.transitions.length import first_open_frame, with_length
from core.service.domain.transitions.transition import (
    Transition,
    require_not_deleted,
    started_if_made,
    updated,
    with_event,
    with_revision,
)

MAX_STEERINGS = 1000
"""Changes of the prompt of one job: they stay in its record, because a damaged chunk is made again from them."""
MAX_STEERING_CHARACTERS = 64 * 1024
"""Of all these prompts together: every poll reads the record."""
_STEERABLE = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})


def steer(
    record: JobRecord, change: JobChange, at: datetime, endless_limit: int | None = None
) -> tuple[Transition, int | None]:
    """Change what `change` names. Also returns the frame from which its prompt acts; None without one.

    `endless_limit`: where a job that has no end any more ends. A job whose new end is made already is finalized; first
    refined, if that is left.

    A prompt acts from the first frame that no worker may have begun, or from `from_frame` if that is later; prompts
    that begin later stay. One that is in force there already changes nothing, so this is idempotent; it acts from
    where it began.
    Raises JobStateConflict, and InvalidField for a length below what is begun, or a `from_frame` that is too early or
    beyond the video.
    """
    require_not_deleted(record)
    if record.status not in _STEERABLE:
        fix = "retry it first" if record.status is JobStatus.FAILED else "extend it with a new prompt"
        raise JobStateConflict(f"a job that is {record.status} cannot be changed", fix=f"{fix}, or branch it")
    told = _with_metadata_and_priority(record, change)
    if change.changes_length:
        told = with_frames_counted(record, with_length(told, change.num_frames, endless_limit), at)
    if change.prompt is None:
        changed = with_revision(Transition(told))
        return (Transition(record) if told is record else started_if_made(changed, at)), None
    from_frame = _from_frame(told, change.from_frame)
    if prompt_at(record.spec, from_frame) == change.prompt:
        begun = prompt_start(record.spec, from_frame)
        return (Transition(record) if told is record else with_revision(Transition(told))), begun
    return with_prompt(told, change.prompt, from_frame, at), from_frame


def _from_frame(record: JobRecord, wanted: int | None) -> int:
    first, end = first_open_frame(record), record.spec.length
    if first >= end:
        raise JobStateConflict(
            f"all {end} frames are made or begun, so no prompt can act", fix="extend it with a new prompt, or branch it"
        )
    if wanted is None:
        return first
    if wanted < first:
        message = f"frame {wanted} is made or begun already; {first} is the first that is not"
        raise InvalidField(message, field="from_frame", fix=f"give at least {first}, or leave it out")
    if wanted >= end:
        message = f"the video has {end} frames, so the last is {end - 1}"
        raise InvalidField(message, field="from_frame", fix=f"give at most {end - 1}")
    return wanted


def _with_metadata_and_priority(record: JobRecord, change: JobChange) -> JobRecord:
    given = change.model_dump(include={"metadata", "priority"}, exclude_none=True)
    spec = record.spec.model_copy(update=given)
    return record if spec == record.spec else updated(record, spec=spec)


def with_prompt(record: JobRecord, prompt: str, from_frame: int, at: datetime) -> Transition:
    """The job with a prompt that acts from a frame which is not made. Raises JobStateConflict after too many, or too
    long ones."""
    if len(record.steering) >= MAX_STEERINGS:
        raise JobStateConflict(f"the prompt was changed {MAX_STEERINGS} times, which is the limit", fix="branch it")
    if sum(len(each.prompt) for each in record.steering) + len(prompt) > MAX_STEERING_CHARACTERS:
        message = f"its new prompts would have more than {MAX_STEERING_CHARACTERS} characters together"
        raise JobStateConflict(message, fix="branch it")
    entry = Steering(at=at, entry=(record.num_events or 0) + 1, from_frame=from_frame, prompt=prompt)
    steered = updated(
        record,
        spec=with_prompt_from(record.spec, prompt, from_frame),
        steering=(*record.steering, entry),
    )
    return with_event(steered, EventType.JOB_PROMPT_CHANGED, at)
