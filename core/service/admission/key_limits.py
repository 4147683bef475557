"""A request against the limits of its API key. What the key may never have is refused here; what it has no room for now
is told by domain.usage when the job is stored. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import LimitExceeded
from core.service.domain.priority import Priority
from core.service.domain.schema import MIN_FRAMES, JobSpec
from core.service.domain.usage import KeyUsage
from core.service.settings import Settings


def most_frames_of(limits: KeyLimits, usage: KeyUsage, known_frames: int = 0) -> int | None:
    """Frames that a video of a key may have which names no length: the limit of one, and what is left of the day; None:
    no limit. `known_frames`: frames of the video that need not be asked for."""
    left = None
    if limits.frames_per_day is not None:
        # No fewer than a video has: then it is refused with the time when there are more.
        left = known_frames + max(MIN_FRAMES, limits.frames_per_day - usage.frames_today)
    return min((most for most in (limits.frames, left) if most is not None), default=None)


def settings_for(limits: KeyLimits, most_frames: int | None, settings: Settings) -> Settings:
    """The settings for a key: the default length is one that it may have, and a video without end gets `most_frames`,
    see most_frames_of."""
    lowered = {
        "default_num_frames": _least(settings.default_num_frames, limits.frames),
        "max_endless_frames": _least(settings.max_endless_frames, most_frames),
    }
    return settings.model_copy(update=lowered)


def check_spec(spec: JobSpec, limits: KeyLimits, known_frames: int = 0) -> None:
    """Raises LimitExceeded for a length, or a number of steps, that a key with these limits may never have."""
    check_length(spec.length, spec.length - known_frames, limits)
    for field, steps in _steps(spec):
        _check(field, steps, limits.inference_steps)


def check_priority(priority: Priority, most: Priority, fix: str | None = None) -> None:
    """Raises LimitExceeded for a priority above the highest that a key may have. `fix`: instead of another priority."""
    if priority.is_above(most):
        message = f"priority is {priority}; the most is {most}, set by the limits of the API key"
        allowed = " or ".join(each for each in Priority if not each.is_above(most))
        raise LimitExceeded(message, field="priority", fix=fix or f"give {allowed}")


def check_length(length: int, new_frames: int, limits: KeyLimits) -> None:
    """The same for the length of a video, `new_frames` of which are asked for."""
    _check("num_frames", length, limits.frames)
    if limits.frames_per_day is not None and new_frames > limits.frames_per_day:
        message = f"{new_frames} frames are asked for; the API key may have {limits.frames_per_day} per day"
        raise LimitExceeded(message, field="num_frames", fix=f"ask for at most {limits.frames_per_day}")


def check_longer(spec: JobSpec, length: int, known_frames: int, limits: KeyLimits) -> None:
    """The same for a job that exists and gets this length; one that gets no further frames is always allowed. Further
    frames have the job's steps, of which the key may have fewer by now."""
    if length <= known_frames:
        return
    check_length(length, length - known_frames, limits)
    for field, steps in _steps_of_each_chunk(spec):
        if limits.inference_steps is not None and steps > limits.inference_steps:
            most = f"the most is {limits.inference_steps}, set by the limits of the API key"
            message = f"{field} of the job is {steps}; {most}"
            raise LimitExceeded(message, field="num_frames", fix="submit a new job with fewer steps")


def _steps(spec: JobSpec) -> Iterator[tuple[str, int]]:
    yield from _steps_of_each_chunk(spec)
    yield "first_chunk.num_inference_steps", spec.first_chunk.num_inference_steps if spec.first_chunk else 0


def _steps_of_each_chunk(spec: JobSpec) -> Iterator[tuple[str, int]]:
    yield "num_inference_steps", spec.num_inference_steps or 0
    yield "refine.steps", spec.refine.num_inference_steps if spec.refine else 0


def _check(field: str, asked: int, most: int | None) -> None:
    if most is not None and asked > most:
        message = f"{field} is {asked}; the most is {most}, set by the limits of the API key"
        raise LimitExceeded(message, field=field, fix=f"give at most {most}")


def _least(*limits: int | None) -> int:
    return min(limit for limit in limits if limit is not None)
