"""What an API key uses of its limits: unfinished jobs, frames per day, stored bytes. Pure.

All of it follows from the records of its jobs (and the sizes of its uploads), so that a store counts it by comparing a
record with the one before, in the transaction that writes it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from pydantic import Field

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import LimitReached, UsageUnknown
from core.service.domain.schema import JobRecord, Shown

JOB_RETRY_SECONDS = 30
"""When to come back for a job that waits for others to end."""
BYTES_RETRY_SECONDS = 60
"""The same for one that waits for others to be deleted."""


class KeyUsage(Shown):
    """What an API key uses of its limits."""

    unfinished_jobs: int = Field(default=0, description="Jobs that are queued or running now.")
    frames_today: int = Field(default=0, description="Frames that were asked for today (UTC) and not given back.")
    stored_bytes: int = Field(default=0, description="Bytes of all its videos and uploads.")
    complete: bool = Field(default=True, description="False while it is counted again, after a loss of Redis.")


def is_unfinished(record: JobRecord) -> bool:
    """Whether the job counts as unfinished."""
    return not (record.status.is_terminal or record.delete_requested)


def stored_bytes(record: JobRecord) -> int:
    """Bytes of the job's chunks and videos. None from the moment when its client deletes it."""
    if record.delete_requested:
        return 0
    return record.chunks.size_bytes + record.refined.size_bytes + record.video_bytes


def new_frames(before: JobRecord | None, after: JobRecord) -> tuple[date, int] | None:
    """The day on which a change of a record counts, and by how many frames: fewer than 0 are given back. None if it
    does not count."""
    counted, known = after.counted_frames, before.counted_frames if before else None
    if counted is None or counted == known:
        return None
    return counted.day, counted.frames - (known.frames if known and known.day == counted.day else 0)


def day_of(moment: datetime) -> date:
    """The day (UTC) on which frames count."""
    return moment.astimezone(UTC).date()


def end_of(day: date) -> datetime:
    """When frames of this day stop to count."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def check_limits(before: JobRecord | None, after: JobRecord, usage: KeyUsage, limits: KeyLimits, now: datetime) -> None:
    """Raises LimitReached if the owner of the job, who uses `usage`, may not make this change now, UsageUnknown if that
    is not known. What asks for no further frames and lets no ended job go on is always allowed."""
    begins = is_unfinished(after) and not (before and is_unfinished(before))
    _, frames = new_frames(before, after) or (None, 0)
    if not begins and frames <= 0:
        return
    _check_known(usage, limits.unfinished_jobs, limits.frames_per_day)
    if begins:
        _check_jobs(usage, limits)
    _check_frames(frames, usage, limits, now)
    check_bytes(1, usage, limits)


def _check_known(usage: KeyUsage, *limits: int | None) -> None:
    if not usage.complete and any(limit is not None for limit in limits):
        message = "the service counts again what the API key uses of its limits"
        raise UsageUnknown(message, fix="ask again; it is done when all jobs are read")


def _check_jobs(usage: KeyUsage, limits: KeyLimits) -> None:
    most = limits.unfinished_jobs
    if most is not None and usage.unfinished_jobs >= most:
        message = f"the API key has {usage.unfinished_jobs} jobs that have not ended; it may have {most}"
        raise LimitReached(message, fix="wait for one to end, or cancel one", retry_seconds=JOB_RETRY_SECONDS)


def _check_frames(frames: int, usage: KeyUsage, limits: KeyLimits, now: datetime) -> None:
    most = limits.frames_per_day
    if most is not None and frames > 0 and usage.frames_today + frames > most:
        left = max(0, most - usage.frames_today)
        message = f"{frames} frames are asked for; the API key has {left} of its {most} frames left today (UTC)"
        fix = f"ask for at most {left}, or wait until midnight UTC" if left else "wait until midnight UTC"
        wait = round((end_of(day_of(now)) - now).total_seconds())
        raise LimitReached(message, field="num_frames", fix=fix, retry_seconds=max(1, wait))


def check_bytes(more: int, usage: KeyUsage, limits: KeyLimits) -> None:
    """Raises LimitReached if a key that uses `usage` may not store `more` bytes, UsageUnknown if that is not known."""
    stored, most = usage.stored_bytes, limits.stored_bytes
    _check_known(usage, most)
    if most is not None and stored + more > most:
        message = f"the API key has {stored} bytes of videos and uploads stored; it may have {most}"
        fix = "DELETE /jobs/{id} and /uploads/{id} of those that are not needed"
        raise LimitReached(message, fix=fix, retry_seconds=BYTES_RETRY_SECONDS)
