"""Changing the length of a job that has not ended, and the end that the operator sets."""

from __future__ import annotations

from collections.abc import Iterator

from core.service.domain.chunk_order import next_new_chunk
from core.service.domain.errors import InvalidField, JobStateConflict
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.refine_plan import RefinePiece, num_pieces, refine_piece
from core.service.domain.schema import (
    ChunkRecord,
    EventType,
    JobRecord,
    JobSpec,
    JobStatus,
    JobWarning,
    Lane,
    LengthChange,
    WarningCode,
)
from core.service.domain.transitions.rules import frames_made_or_shared
from core.service.domain.transitions.transition import updated

MAX_LENGTH_CHANGES = 100
"""Of one job: its record keeps them."""
_LATER = "extend it once it has ended"


def first_open_frame(record: JobRecord) -> int:
    """The first frame of the next chunk that no worker has begun.

    A held lane may be making the next chunk: a worker reads the record after its claim.
    """
    held = record.lane(Lane.GENERATE).held
    return CHUNK_FRAMES * (next_new_chunk(record) + 1) if held else frames_made_or_shared(record)


def with_length(record: JobRecord, num_frames: int | None, endless_limit: int | None) -> JobRecord:
    """The job with a new end; None: without one, but at `endless_limit`. The same length changes nothing.

    What is made or begun stays as it is. Raises InvalidField for fewer frames than that, and JobStateConflict if the
    video's end is among it.
    """
    spec = record.spec
    if num_frames == spec.num_frames:
        return record
    limit = endless_limit if num_frames is None else None
    changed = spec.model_copy(update={"num_frames": num_frames, "endless_limit": limit})
    begun = min(first_open_frame(record), spec.length)
    if changed.length < begun:
        message = f"{begun} frames are made or begun already"
        raise InvalidField(message, field="num_frames", fix=f"give at least {begun}, or cancel the job")
    if begun == spec.length and begun % CHUNK_FRAMES and changed.length != begun:
        raise JobStateConflict(f"the last chunk, which ends at frame {begun}, is made or begun", fix=_LATER)
    if _newest_piece(record, spec) != _newest_piece(record, changed):
        raise JobStateConflict("the end of the video is refined or begun to be", fix=_LATER)
    if len(record.length_changes) >= MAX_LENGTH_CHANGES:
        raise JobStateConflict(f"the length was changed {MAX_LENGTH_CHANGES} times, which is the limit", fix=_LATER)
    changes = (*record.length_changes, *length_before(record, changed))
    return updated(record, spec=changed, length_changes=changes)


def with_length_of_input(record: JobRecord, num_frames: int) -> JobRecord:
    """A job that is as long as its input, once the length of that is known."""
    known = record.spec.model_copy(update={"num_frames": num_frames, "endless_limit": None})
    before = (change.model_copy(update={"until_read": True}) for change in length_before(record, known))
    changes, warnings = (*record.length_changes, *before), (*record.warnings, *_late_prompts(known, num_frames))
    return updated(record, spec=known, length_changes=changes, warnings=warnings)


def _late_prompts(spec: JobSpec, num_frames: int) -> Iterator[JobWarning]:
    """Warnings about prompts that begin after the last of so many frames: the request could not be refused for them."""
    for change in spec.prompt_changes:
        if change.start_frame >= num_frames:
            message = f"the prompt from frame {change.start_frame} on has no effect: the video has {num_frames} frames"
            yield JobWarning(code=WarningCode.PROMPT_BEYOND_END, message=message, field="prompts")


def length_before(record: JobRecord, changed: JobSpec) -> tuple[LengthChange, ...]:
    """What the record keeps of the job's length, if `changed` has another one."""
    spec = record.spec
    if (spec.num_frames, spec.endless_limit) == (changed.num_frames, changed.endless_limit):
        return ()
    return (LengthChange(entry=record.num_events or 0, num_frames=spec.num_frames, endless_limit=spec.endless_limit),)


def at_entry(state: JobRecord, event: EventType, number: int, changes: tuple[LengthChange, ...]) -> JobRecord:
    """The job as it was told in entry `number` of the log, with the length of that time, which decides whether a chunk
    was the last one."""
    old = next((change for change in changes if number <= change.entry), None)
    if old is None:
        return state
    spec = state.spec.model_copy(update={"num_frames": old.num_frames, "endless_limit": old.endless_limit})
    then = updated(state, spec=spec)
    if then.status not in {JobStatus.RUNNING, JobStatus.FINALIZING}:
        return then
    was_last = event is EventType.CHUNK_COMPLETED and then.is_complete and spec.refine is None
    return updated(then, status=JobStatus.FINALIZING if was_last else JobStatus.RUNNING)


def ends_where_planned(record: JobRecord, chunk: ChunkRecord) -> bool:
    """Whether a chunk has all the frames that it should have. A worker that lost its lease may have begun it for
    another length."""
    return chunk.first_frame + chunk.num_frames == min((chunk.index + 1) * CHUNK_FRAMES, record.spec.length)


def with_limit_told(record: JobRecord) -> JobRecord:
    """A job without end that has all the frames that it may get has a warning."""
    if not (record.spec.is_endless and record.is_complete):
        return record
    ended = f"the video ended at {record.frames_done} frames, the most that it may have"
    message = f"{ended} (LONGTAKE_MAX_ENDLESS_FRAMES, or a limit of its API key)"
    warning = JobWarning(code=WarningCode.ENDLESS_LIMIT, message=message, field="num_frames")
    return updated(record, warnings=(*record.warnings, warning))


def _newest_piece(record: JobRecord, spec: JobSpec) -> RefinePiece | JobSpec | None:
    """The newest piece of the refinement that is begun, for a video of this length; None if none is. Every piece of
    lockstep depends on the whole spec."""
    newest = record.refine_done - (0 if record.lane(Lane.REFINE).held else 1)
    if spec.refine is None or newest < 0:
        return None
    return spec if spec.refine.schedule == "lockstep" or newest >= num_pieces(spec) else refine_piece(spec, newest)
