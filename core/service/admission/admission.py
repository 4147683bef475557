"""A JobRequest becomes a complete JobSpec, or is refused before any GPU time is spent.

Pure but for the look-ups of a webhook's host and of input media (parameters). Knows no HTTP; every refusal is a named
RequestError with the field at fault and the fix.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, cast

from core.service.admission.catalog import Catalog, PresetFolder
from core.service.admission.limits import Limit, limit_of, refine_limits
from core.service.admission.prompts import ReadPrompt, check_length, read_negative_prompt, read_prompt
from core.service.admission.refine_request import check_lockstep, refine_spec_of
from core.service.admission.request_body import parse_parameters, written
from core.service.domain.errors import (
    FieldNotSupported,
    InvalidField,
    PromptTooLong,
    TooFewFrames,
    TooManyFrames,
)
from core.service.domain.frame_plan import seconds_to_frames
from core.service.domain.frame_rate import parse_frame_rate, seconds_of
from core.service.domain.ids import new_job_id
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import (
    DEFAULT_PROFILE,
    DEFAULT_WEBHOOK_EVENTS,
    FirstChunkOptions,
    FirstChunkSampling,
    JobRecord,
    JobRequest,
    JobSpec,
    JobStatus,
    JobWarning,
    Profile,
    RefineSpec,
    WarningCode,
    WebhookEvent,
)
from core.service.domain.text import check_characters
from core.service.engines.capabilities import ALL_ENGINE_FIELDS
from core.service.engines.definition import Parameters
from core.service.engines.preset import Preset, ProfileDefaults
from core.service.net.address_guard import WEBHOOK, Resolve, allowed_addresses, resolve_host
from core.service.settings import Settings

CheckReference = Callable[[MediaKind, str], None]
"""media_references.ReferenceCheck: raises a RequestError for a URL or upload that cannot be used."""


@dataclass(frozen=True)
class Admitted:
    """A complete request, and its warnings."""

    spec: JobSpec
    warnings: tuple[JobWarning, ...] = ()


def random_seed() -> int:
    """A random seed for requests that name none. 32 bits: short enough to be read out and typed again."""
    return secrets.randbelow(2**32)


def queued_record(spec: JobSpec, now: datetime, warnings: tuple[JobWarning, ...] = ()) -> JobRecord:
    """The record of a job admitted at `now`."""
    return JobRecord(id=new_job_id(), status=JobStatus.QUEUED, spec=spec, created_at=now, warnings=warnings)


def admit(
    request: JobRequest,
    catalog: Catalog,
    settings: Settings,
    new_seed: Callable[[], int],
    check_reference: CheckReference,
    resolve: Resolve = resolve_host,
) -> Admitted:
    """The request with every default filled in and every limit of preset and deployment checked; and its warnings.

    Raises a RequestError (also UnknownModel), or PresetError if the preset's files cannot be read.
    """
    _check_characters(request)
    model = settings.default_model if request.model is None else request.model
    folder = catalog.get(model)
    preset = folder.preset
    _check_supported(request, preset)
    prompt = read_prompt(request.prompt, folder)
    negative_prompt = _negative_prompt(request, folder)
    fps = preset.fps if request.fps is None else parse_frame_rate(request.fps)
    _check_input_media(request, preset, check_reference)
    profile, defaults = _profile(request, preset)
    refine = _refine(request, prompt.text, folder, settings)
    max_frames = limit_of("max_frames", preset, settings)
    num_frames = _num_frames(request, fps, preset.effective_limits.min_frames, max_frames, settings.default_num_frames)
    if refine is not None:
        check_lockstep(refine, num_frames, limit_of("max_lockstep_frames", preset, settings))
    spec = JobSpec(
        prompt=prompt.text,
        negative_prompt=negative_prompt.text,
        num_frames=num_frames,
        fps=fps,
        seed=new_seed() if request.seed is None else request.seed,
        model=model,
        guidance_scale=request.guidance_scale or defaults.guidance_scale,  # never 0: at least 1
        num_inference_steps=_window_steps(request.num_inference_steps, defaults, preset, settings),
        profile=profile,
        first_chunk=_first_chunk(request.first_chunk or FirstChunkOptions(), defaults, preset, settings),
        parameters=_parameters(request, folder),
        image=request.image,
        video=request.video,
        refine=refine,
        webhook_url=_webhook_url(request, settings, resolve),
        webhook_events=_webhook_events(request),
        metadata=request.metadata or {},
    )
    of_length = _length_warnings(request, spec, settings.default_num_frames)
    return Admitted(spec, (*prompt.warnings, *negative_prompt.warnings, *_rate_warnings(request, fps), *of_length))


def _check_characters(request: JobRequest) -> None:
    """Raises InvalidField for text with characters that are none, or that change how other text is shown."""
    for field in ("prompt", "negative_prompt", "model", "image", "video", "webhook_url"):
        check_characters(field, getattr(request, field) or "")
    for field, text in (*_texts("metadata", request.metadata), *_texts("parameters", request.parameters)):
        check_characters(field, text)


def _texts(field: str, value: object) -> Iterator[tuple[str, str]]:
    """All strings in a JSON value, keys too, and the field that each belongs to."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list):
        for index, element in enumerate(cast("list[Any]", value)):
            yield from _texts(f"{field}[{index}]", element)
    elif isinstance(value, dict):
        for key, element in cast("dict[str, Any]", value).items():
            yield f"{field}.{written(key)}", key
            yield from _texts(f"{field}.{written(key)}", element)


def _check_supported(request: JobRequest, preset: Preset) -> None:
    """Raises FieldNotSupported for a field that the engine would ignore."""
    for field in ALL_ENGINE_FIELDS:
        if getattr(request, field) is not None and field not in preset.capabilities.fields:
            raise FieldNotSupported(f"{preset.name} takes no {field}", field=field, fix="leave it out")


def _parameters(request: JobRequest, folder: PresetFolder) -> dict[str, Any]:
    """`parameters` with the engine's defaults filled in, as JSON."""
    model = folder.engine.parameters
    if model is Parameters and request.parameters:
        raise FieldNotSupported(f"{folder.preset.name} takes no parameters", field="parameters", fix="leave it out")
    return parse_parameters(request.parameters or {}, model).model_dump(mode="json")


def _negative_prompt(request: JobRequest, folder: PresetFolder) -> ReadPrompt:
    """The preset's own gives no warnings: the client did not write it."""
    if request.negative_prompt is not None:
        return read_negative_prompt(request.negative_prompt, folder)
    check_length("negative_prompt", folder.preset.negative_prompt, folder)
    return ReadPrompt(folder.preset.negative_prompt, ())


def _check_refiner(prompt: str, folder: PresetFolder) -> None:
    """Raises if the refiner is not installed, or cannot read the prompt with what it appends."""
    folder.require_refiner()
    refiner, limit = folder.preset.refiner, folder.preset.max_prompt_tokens
    suffix, count = refiner.prompt_suffix if refiner else "", folder.tokenizer.count
    num_tokens = count(prompt + suffix)
    if num_tokens > limit:
        message = f"prompt has {num_tokens} tokens with the {suffix!r} that the refiner appends; {limit} are read"
        room = limit - (num_tokens - count(prompt))
        fix = f"shorten it to at most {room} tokens, or leave `refine` out"
        raise PromptTooLong(message, field="prompt", fix=fix)


def _refine(request: JobRequest, prompt: str, folder: PresetFolder, settings: Settings) -> RefineSpec | None:
    preset = folder.preset
    limits = None if preset.refiner is None else refine_limits(preset, preset.refiner, settings)
    refine = refine_spec_of(request.refine, preset, limits)
    if refine is not None:
        _check_refiner(prompt, folder)
    return refine


def _num_frames(request: JobRequest, fps: int | Fraction, least: int, limit: Limit, default: int) -> int:
    """Frames of the video, from num_frames or seconds, or the deployment's default within the model's limits."""
    if request.num_frames is not None and request.seconds is not None:
        raise InvalidField("both num_frames and seconds are given", field="seconds", fix="give one of them")
    if request.seconds is not None:
        # Clamped first: a product that overflows to infinity cannot be rounded.
        seconds = min(request.seconds, float(limit.most) + 1)
        return _checked_length("seconds", seconds_to_frames(seconds, fps), fps, least, limit)
    num_frames = min(max(default, least), limit.most) if request.num_frames is None else request.num_frames
    return _checked_length("num_frames", num_frames, fps, least, limit)


def _checked_length(field: str, num_frames: int, fps: int | Fraction, least: int, limit: Limit) -> int:
    """`num_frames`, if it is within limits. Errors name `field`, the one that the client gave."""
    if num_frames < least:
        fix = f"give at least {least} frames ({seconds_of(least, fps):g} seconds at {fps} fps)"
        raise TooFewFrames(f"{field} asks for {num_frames} frames; a video has at least {least}", field=field, fix=fix)
    if num_frames > limit.most:
        fix = f"give at most {limit.most} frames ({seconds_of(limit.most, fps):g} seconds at {fps} fps)"
        message = f"{field} asks for more than the {limit.most} frames allowed here, {limit.set_by}"
        raise TooManyFrames(message, field=field, fix=fix)
    return num_frames


def _rate_warnings(request: JobRequest, fps: int | Fraction) -> list[JobWarning]:
    """For a decimal taken as an NTSC rate."""
    if not isinstance(request.fps, float) or Fraction(repr(request.fps)) == fps:
        return []
    message = f"fps {request.fps:g} was taken for {fps}"
    return [JobWarning(code=WarningCode.FRAME_RATE_SNAPPED, message=message, field="fps")]


def _length_warnings(request: JobRequest, spec: JobSpec, default: int) -> list[JobWarning]:
    """For a length that differs from `seconds` or from the deployment's default."""
    length = f"{spec.num_frames} frames, {seconds_of(spec.num_frames, spec.fps):g} s at {spec.fps} fps"
    if request.seconds is not None and Fraction(repr(request.seconds)) * spec.fps != spec.num_frames:
        message = f"{request.seconds:g} s is no whole number of frames; the video has {length}"
        return [JobWarning(code=WarningCode.SECONDS_ROUNDED, message=message, field="seconds")]
    if request.seconds is None and request.num_frames is None and spec.num_frames < default:
        message = f"the default of {default} frames is more than {spec.model} makes; the video has {length}"
        return [JobWarning(code=WarningCode.LENGTH_SHORTENED, message=message, field="num_frames")]
    return []


def _check_input_media(request: JobRequest, preset: Preset, check: CheckReference) -> None:
    """Raises if the model does not take the image or video, lacks one, or it cannot be used."""
    if request.image is not None and request.video is not None:
        raise InvalidField("both image and video are given", field="video", fix="give one of them")
    takes = preset.capabilities
    if request.image is not None:
        if not takes.image:
            fix = "leave it out, or use a model that says accepts_image in GET /models"
            raise FieldNotSupported(f"{preset.name} takes no image", field="image", fix=fix)
        check(MediaKind.IMAGE, request.image)
    elif request.video is not None:
        if takes.video == "no":
            raise FieldNotSupported(f"{preset.name} takes no video", field="video", fix="leave it out")
        check(MediaKind.VIDEO, request.video)
    elif takes.needs_input:
        field = "image" if takes.image else "video"
        fix = "give a URL or an upload as image or video" if takes.image and takes.video != "no" else f"give {field}"
        raise InvalidField(f"{preset.name} needs input media", field=field, fix=fix)


def _profile(request: JobRequest, preset: Preset) -> tuple[Profile | None, ProfileDefaults]:
    """The profile, None of an engine without profiles, and how it samples."""
    name = request.profile or DEFAULT_PROFILE
    if "profile" not in preset.capabilities.fields:
        return None, preset.profile_defaults.get(DEFAULT_PROFILE, ProfileDefaults())
    if name not in preset.profile_defaults:
        fix = f"use {' or '.join(preset.profile_defaults)}"
        raise FieldNotSupported(f"{preset.name} has no profile {name}", field="profile", fix=fix)
    return name, preset.profile_defaults[name]


def _window_steps(asked: int | None, defaults: ProfileDefaults, preset: Preset, settings: Settings) -> int | None:
    """Denoising steps of a window."""
    own = defaults.num_inference_steps
    if asked or own:
        limit_of("max_inference_steps", preset, settings, own or 0).check("num_inference_steps", asked or own or 0)
    return asked or own  # never 0: at least 1


def _first_chunk(
    asked: FirstChunkOptions, defaults: ProfileDefaults, preset: Preset, settings: Settings
) -> FirstChunkSampling | None:
    own = defaults.first_chunk
    if own is None:
        return None
    steps = asked.num_inference_steps or own.num_inference_steps
    limit = limit_of("max_first_chunk_steps", preset, settings, own.num_inference_steps)
    limit.check("first_chunk.num_inference_steps", steps)
    return FirstChunkSampling(num_inference_steps=steps, guidance_scale=asked.guidance_scale or own.guidance_scale)


def _webhook_url(request: JobRequest, settings: Settings, resolve: Resolve) -> str | None:
    if request.webhook_url is not None:
        allowed_addresses(request.webhook_url, WEBHOOK, settings, resolve)
    return request.webhook_url


def _webhook_events(request: JobRequest) -> tuple[WebhookEvent, ...]:
    """The events asked for, each once, in the order given."""
    if request.webhook_events is None:
        return DEFAULT_WEBHOOK_EVENTS
    if request.webhook_url is None:
        message, fix = "webhook_events without webhook_url", "give webhook_url, or leave webhook_events out"
        raise InvalidField(message, field="webhook_events", fix=fix)
    if not request.webhook_events:
        message, fix = "webhook_events is empty", "name at least one event, or leave it out for the default"
        raise InvalidField(message, field="webhook_events", fix=fix)
    return tuple(dict.fromkeys(request.webhook_events))
