"""Which frames of a job count on which day towards the limit of its owner.

Frames count when they are asked for. What an ended job has not made, and what it loses when it gets shorter, is given
back on the same day; on a later one that day is over.
"""

from __future__ import annotations

from datetime import datetime

from core.service.domain.schema import DayFrames, JobRecord
from core.service.domain.transitions.rules import frames_made_or_shared
from core.service.domain.usage import day_of


def with_frames_counted(before: JobRecord | None, after: JobRecord, at: datetime) -> JobRecord:
    """`after`, with the frames that it asks for or gives back counted on the day of `at`. `before`: None for a new job,
    which asks for all but those that a branch shares. Jobs without an owner count nothing."""
    if after.owner is None:
        return after
    day, known = day_of(at), after.counted_frames
    more = _asked_for(after) - (frames_made_or_shared(after) if before is None else _asked_for(before))
    today = known.frames if known is not None and known.day == day else 0
    if more == 0 or (more < 0 and not today):
        return after
    return after.model_copy(update={"counted_frames": DayFrames(day=day, frames=max(0, today + more))})


def _asked_for(record: JobRecord) -> int:
    """Frames that the job has or may still get."""
    return frames_made_or_shared(record) if record.status.is_terminal else record.spec.length
