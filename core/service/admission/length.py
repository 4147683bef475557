"""The length of a video and its frame rate, from what a request says; and the warnings about them."""

from __future__ import annotations

from fractions import Fraction

from core.service.admission.limits import Limit, limit_of
from core.service.domain.errors import FieldNotSupported, InvalidField, TooFewFrames, TooManyFrames
from core.service.domain.frame_plan import seconds_to_frames
from core.service.domain.frame_rate import seconds_of
from core.service.domain.schema import JobRequest, JobSpec, JobWarning, WarningCode
from core.service.engines.preset import Preset
from core.service.settings import Settings


def length_of(
    request: JobRequest, preset: Preset, fps: int | Fraction, settings: Settings, most_frames: int | None = None
) -> tuple[int | None, int | None]:
    """`num_frames`, and `endless_limit` where it is None: of a video without end, and of one as long as its input,
    whose length is not known yet, `most_frames` at most.

    Raises InvalidField, TooFewFrames, TooManyFrames or FieldNotSupported.
    """
    least, most = preset.effective_limits.min_frames, limit_of("max_frames", preset, settings)
    if _is_as_long_as_its_input(request, preset):
        return None, most.most if most_frames is None else max(least, min(most.most, most_frames))
    num_frames = num_frames_of(request, fps, least, most, settings.default_num_frames)
    return num_frames, None if num_frames is not None else endless_limit_of(preset, request, settings)


def _is_as_long_as_its_input(request: JobRequest, preset: Preset) -> bool:
    takes = preset.capabilities
    names_none = request.num_frames is None and request.seconds is None
    return names_none and takes.length_of_input and takes.goes_along(request)


def num_frames_of(request: JobRequest, fps: int | Fraction, least: int, limit: Limit, default: int) -> int | None:
    """From num_frames (null: without end) or seconds, or the deployment's default clamped to the model's limits.

    Raises InvalidField, TooFewFrames or TooManyFrames.
    """
    if "num_frames" in request.model_fields_set and request.seconds is not None:
        raise InvalidField("both num_frames and seconds are given", field="seconds", fix="give one of them")
    if request.seconds is not None:
        # Clamped first: an overflow to infinity cannot be rounded.
        seconds = min(request.seconds, float(limit.most) + 1)
        return checked_length("seconds", seconds_to_frames(seconds, fps), fps, least, limit)
    if request.is_endless:
        return None
    num_frames = min(max(default, least), limit.most) if request.num_frames is None else request.num_frames
    return checked_length("num_frames", num_frames, fps, least, limit)


def endless_limit_of(
    preset: Preset, asked: JobRequest | JobSpec, settings: Settings, fix: str = "give a number, or leave it out"
) -> int:
    """Frames that a video without end may get. Raises FieldNotSupported if model or operator allow none, or if it
    goes along an input video."""
    require_open_length(preset, asked, fix)
    if not settings.max_endless_frames:
        message = "videos without end are switched off here (LONGTAKE_MAX_ENDLESS_FRAMES)"
        raise FieldNotSupported(message, field="num_frames", fix=fix)
    return settings.max_endless_frames


def fix_of_null(preset: Preset, spec: JobSpec) -> str:
    """What to give instead of null for the length of a job that exists."""
    return "leave it out" if preset.capabilities.goes_along(spec) else "give a number, or leave it out"


def require_open_length(preset: Preset, asked: JobRequest | JobSpec, fix: str) -> None:
    """Raises FieldNotSupported if the length of such a video does not change."""
    if not preset.capabilities.has_open_length(asked):
        message = f"a video of {preset.name} has a length that does not change on the way"
        raise FieldNotSupported(message, field="num_frames", fix=fix)


def checked_length(field: str, num_frames: int, fps: int | Fraction, least: int, limit: Limit) -> int:
    """`num_frames`, if it is within limits. Errors name `field`, the one in the request."""
    if num_frames < least:
        fix = f"give at least {least} frames ({seconds_of(least, fps):g} seconds at {fps} fps)"
        raise TooFewFrames(f"{field} asks for {num_frames} frames; a video has at least {least}", field=field, fix=fix)
    if num_frames > limit.most:
        fix = f"give at most {limit.most} frames ({seconds_of(limit.most, fps):g} seconds at {fps} fps)"
        message = f"{field} asks for more than the {limit.most} frames allowed here, {limit.set_by}"
        raise TooManyFrames(message, field=field, fix=fix)
    return num_frames


def rate_warnings(request: JobRequest, fps: int | Fraction) -> list[JobWarning]:
    """A warning if a decimal was taken as an NTSC rate."""
    if not isinstance(request.fps, float) or Fraction(repr(request.fps)) == fps:
        return []
    message = f"fps {request.fps:g} was taken as {fps}"
    return [JobWarning(code=WarningCode.FRAME_RATE_SNAPPED, message=message, field="fps")]


def length_warnings(request: JobRequest, spec: JobSpec, default: int) -> list[JobWarning]:
    """A warning if the length differs from `seconds` or from the deployment's default."""
    if spec.num_frames is None:
        return []
    length = f"{spec.num_frames} frames, {seconds_of(spec.num_frames, spec.fps):g} s at {spec.fps} fps"
    if request.seconds is not None and Fraction(repr(request.seconds)) * spec.fps != spec.num_frames:
        message = f"{request.seconds:g} s is no whole number of frames; the video has {length}"
        return [JobWarning(code=WarningCode.SECONDS_ROUNDED, message=message, field="seconds")]
    if request.seconds is None and request.num_frames is None and spec.num_frames < default:
        message = f"the default of {default} frames is more than {spec.model} makes; the video has {length}"
        return [JobWarning(code=WarningCode.LENGTH_SHORTENED, message=message, field="num_frames")]
    return []
