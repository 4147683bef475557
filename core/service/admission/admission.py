"""The door of the service: makes a JobRequest of a decoded request body, and a complete JobSpec of that, or refuses.

Pure but for the look-ups of a webhook's host and of given media (parameters). Knows no HTTP; every refusal is a named
RequestError with the field at fault and the fix.
"""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import islice
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from core.service.admission.catalog import Catalog, Preset, PresetFolder, ProfileDefaults, SamplingDefaults
from core.service.admission.limits import Limit, limit_of, refine_limits
from core.service.admission.prompts import ReadPrompt, check_length, read_negative_prompt, read_prompt
from core.service.admission.refine_request import check_lockstep, refine_spec_of
from core.service.domain.errors import (
    FieldNotSupported,
    InvalidField,
    PromptTooLong,
    RequestError,
    TooFewFrames,
    TooManyFrames,
    UnknownField,
    shortened,
)
from core.service.domain.frame_plan import seconds_to_frames
from core.service.domain.frame_rate import parse_frame_rate, seconds_of
from core.service.domain.ids import new_job_id
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import (
    DEFAULT_PROFILE,
    DEFAULT_WEBHOOK_EVENTS,
    MIN_FRAMES,
    REFINE_TAGS,
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
from core.service.net.address_guard import WEBHOOK, Resolve, allowed_addresses, resolve_host
from core.service.settings import Settings

FIELDS_NOT_BUILT_YET = frozenset({"prompts", "priority", "engine"})
MAX_NAME = 64
"""Most characters of a client's own name for a field that a refusal repeats."""
MAX_UNKNOWN_FIELDS = 50
"""Most that are told of, each with the field that was probably meant: finding that takes time."""
Body = TypeVar("Body", bound=BaseModel)

CheckReference = Callable[[MediaKind, str], None]
"""media.references.ReferenceCheck: raises a RequestError where a URL or upload cannot be used."""
_NOT_WRITTEN = frozenset({"[key]", *REFINE_TAGS})  # parts of pydantic's locations that clients do not write
_EXPLANATIONS: dict[str, tuple[str, str]] = {
    "missing": ("is missing", "add it"),
    "string_type": ("is not a string", "give a string in quotes"),
    "string_unicode": ("is not valid Unicode", "leave out lone surrogates (\\ud800 to \\udfff)"),
    "string_too_short": ("is empty", "write something"),
    "string_too_long": ("has more than {max_length} characters", "shorten it"),
    "int_type": ("is not a whole number", "give a whole number without quotes"),
    "int_parsing": ("is not a whole number", "give a whole number"),
    "float_type": ("is not a number", "give a number without quotes"),
    "finite_number": ("is not a finite number", "give a finite number"),
    "frame_rate_form": ("is neither a number nor a fraction", 'give a number, or a string such as "30000/1001"'),
    "frame_rate_too_fine": ("has a denominator above {most} in lowest terms", "give at most four decimals"),
    "greater_than_equal": ("is below {ge}", "give at least {ge}"),
    "greater_than": ("is not above {gt}", "give more than {gt}"),
    "less_than_equal": ("is above {le}", "give at most {le}"),
    "enum": ("is not {expected}", "use {expected}"),
    "bool_type": ("is neither true or false nor an object", "give true, or an object in curly brackets"),
    "string_pattern_mismatch": ("is not WIDTHxHEIGHT in pixels", "write it like 128x128"),
    "extra_forbidden": ("is not a field", "leave it out"),
    "literal_error": ("is not {expected}", "use {expected}"),
    "list_type": ("is not a list", "give a list in square brackets"),
    "dict_type": ("is not an object", "give an object in curly brackets"),
    "too_long": ("has more than {max_length} entries", "leave some out"),
}
"""pydantic's error types that requests can raise: what is wrong, and the fix, both filled in from the error's ctx."""
_REASONS = {("seed", "less_than_equal"): ": JavaScript and other JSON clients round larger integers"}
"""What more the fix says of one field."""


@dataclass(frozen=True)
class Admitted:
    """A complete request, and what is odd about it but possible."""

    spec: JobSpec
    warnings: tuple[JobWarning, ...] = ()


def random_seed() -> int:
    """A random seed for requests that name none. 32 bits: short enough to be read out and typed again."""
    return secrets.randbelow(2**32)


def queued_record(spec: JobSpec, now: datetime, warnings: tuple[JobWarning, ...] = ()) -> JobRecord:
    """The record of a job that was admitted at `now`."""
    return JobRecord(id=new_job_id(), status=JobStatus.QUEUED, spec=spec, created_at=now, warnings=warnings)


def parse_request(body: object) -> JobRequest:
    """The job that is asked for; see `parse_body`."""
    return parse_body(body, JobRequest)


def parse_body(body: object, model: type[Body]) -> Body:
    """The request in a decoded JSON body, with no coercion: "48" and True are not numbers.

    Raises the first RequestError; the others found are its `also`.
    """
    if not isinstance(body, dict):
        raise InvalidField(
            "the body is not a JSON object", fix=f'send an object like {{"{next(iter(model.model_fields))}": "..."}}'
        )
    fields = cast(dict[str, Any], body)
    unknown = islice((name for name in fields if name not in model.model_fields), MAX_UNKNOWN_FIELDS)
    errors = [_error_of_unknown_field(name, model) for name in unknown]
    known = {name: value for name, value in fields.items() if name in model.model_fields}
    try:
        request = model.model_validate(known, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        errors += [error_of_detail(cast(Mapping[str, Any], detail)) for detail in details]
    else:
        if not errors:
            return request
    first, *others = errors
    first.also = tuple(others)
    raise first


def admit(
    request: JobRequest,
    catalog: Catalog,
    settings: Settings,
    new_seed: Callable[[], int],
    check_reference: CheckReference,
    resolve: Resolve = resolve_host,
) -> Admitted:
    """The request with every default filled in and every limit of preset and deployment checked; and its warnings.

    Raises a RequestError (also UnknownModel), or PresetError where the preset's files cannot be read.
    """
    _check_characters(request)
    model = settings.default_model if request.model is None else request.model
    preset = catalog.get(model)
    facts = preset.facts
    prompt = read_prompt(request.prompt, preset)
    negative_prompt = _negative_prompt(request, preset)
    fps = facts.fps if request.fps is None else parse_frame_rate(request.fps)
    _check_given_media(request, facts, check_reference)
    profile = _profile(request.profile or DEFAULT_PROFILE, facts)
    refine = _refine(request, prompt.text, preset, settings)
    max_frames = limit_of("max_frames", facts, settings)
    num_frames = _num_frames(request, fps, max_frames, settings.default_num_frames)
    if refine is not None:
        check_lockstep(refine, num_frames, limit_of("max_lockstep_frames", facts, settings))
    spec = JobSpec(
        prompt=prompt.text,
        negative_prompt=negative_prompt.text,
        num_frames=num_frames,
        fps=fps,
        seed=new_seed() if request.seed is None else request.seed,
        model=model,
        guidance_scale=request.guidance_scale or profile.windows.guidance_scale,  # never 0: at least 1
        num_inference_steps=_window_steps(request.num_inference_steps, profile.windows, facts, settings),
        profile=request.profile or DEFAULT_PROFILE,
        first_chunk=_first_chunk(request.first_chunk or FirstChunkOptions(), profile.first_chunk, facts, settings),
        image=request.image,
        video=request.video,
        refine=refine,
        webhook_url=_webhook_url(request, settings, resolve),
        webhook_events=_webhook_events(request),
        metadata=request.metadata or {},
    )
    of_length = _length_warnings(request, spec, settings.default_num_frames)
    return Admitted(spec, (*prompt.warnings, *negative_prompt.warnings, *_rate_warnings(request, fps), *of_length))


def _error_of_unknown_field(name: object, model: type[BaseModel]) -> RequestError:
    """The refusal of a field that `model` does not have, naming the field that was probably meant."""
    field = _part(name)
    if model is JobRequest and name in FIELDS_NOT_BUILT_YET:
        return FieldNotSupported(f"{field} is not built yet", field=field, fix="leave it out")
    near = difflib.get_close_matches(field, model.model_fields, n=1)
    known = ", ".join(model.model_fields)
    fix = f"did you mean {near[0]}?" if near else f"leave it out; the fields are {known}"
    return UnknownField(f"there is no field {field}", field=field, fix=fix)


def error_of_detail(detail: Mapping[str, Any]) -> RequestError:
    """One of pydantic's errors as ours; `loc` in it begins with a field's name."""
    field = _path(detail["loc"])
    what, fix = _EXPLANATIONS.get(detail["type"], (detail["msg"], "see the documentation of this field"))
    context = {name: _bound(value) for name, value in (detail.get("ctx") or {}).items()}
    too_long_text = detail["type"] == "string_too_long" and field in {"prompt", "negative_prompt"}
    error_class = PromptTooLong if too_long_text else InvalidField
    reason = _REASONS.get((field, detail["type"]), "")
    return error_class(f"{field} {what.format(**context)}", field=field, fix=fix.format(**context) + reason)


def _bound(value: Any) -> Any:
    """1 for a bound of 1.0; all else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _path(location: tuple[object, ...]) -> str:
    """pydantic's location as clients write it: webhook_events[0], metadata.colour, a metadata key by itself."""
    first, *rest = (part for part in location if part not in _NOT_WRITTEN)
    return _part(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{_part(part)}" for part in rest)


def _part(name: object) -> str:
    """A client's own name for something, made fit to be repeated to it."""
    return shortened(str(name), MAX_NAME)


def _check_characters(request: JobRequest) -> None:
    """Raise InvalidField where any text has characters that are none, or that change how other text is shown."""
    for field in ("prompt", "negative_prompt", "model", "image", "video", "webhook_url"):
        check_characters(field, getattr(request, field) or "")
    for key, value in (request.metadata or {}).items():
        for text in (key, value):
            check_characters(f"metadata.{_part(key)}", text)


def _negative_prompt(request: JobRequest, preset: PresetFolder) -> ReadPrompt:
    """The preset's own is no matter of the client's: it gives no warnings."""
    if request.negative_prompt is not None:
        return read_negative_prompt(request.negative_prompt, preset)
    check_length("negative_prompt", preset.facts.negative_prompt, preset)
    return ReadPrompt(preset.facts.negative_prompt, ())


def _check_refiner(prompt: str, preset: PresetFolder) -> None:
    """Raise where the refiner is not installed, or could not read the prompt with what it appends."""
    preset.require_refiner()
    refiner, limit = preset.facts.refiner, preset.facts.max_prompt_tokens
    suffix = refiner.prompt_suffix if refiner else ""
    num_tokens = preset.count_tokens(prompt + suffix)
    if num_tokens > limit:
        message = f"prompt has {num_tokens} tokens with the {suffix!r} that the refiner appends; {limit} are read"
        room = limit - (num_tokens - preset.count_tokens(prompt))
        fix = f"shorten it to at most {room} tokens, or leave `refine` out"
        raise PromptTooLong(message, field="prompt", fix=fix)


def _refine(request: JobRequest, prompt: str, preset: PresetFolder, settings: Settings) -> RefineSpec | None:
    """How the video is refined, if at all."""
    refiner = preset.facts.refiner
    limits = None if refiner is None else refine_limits(preset.facts, refiner, settings)
    refine = refine_spec_of(request.refine, preset.facts, limits)
    if refine is not None:
        _check_refiner(prompt, preset)
    return refine


def _num_frames(request: JobRequest, fps: int | Fraction, limit: Limit, default: int) -> int:
    """Frames of the video, from num_frames or seconds or the deployment's default, as far as the model takes it."""
    if request.num_frames is not None and request.seconds is not None:
        raise InvalidField("both num_frames and seconds are given", field="seconds", fix="give one of them")
    if request.seconds is not None:
        # Clamped first: a product that overflows to infinity cannot be rounded.
        seconds = min(request.seconds, float(limit.most) + 1)
        return _checked_length("seconds", seconds_to_frames(seconds, fps), fps, limit)
    num_frames = min(default, limit.most) if request.num_frames is None else request.num_frames
    return _checked_length("num_frames", num_frames, fps, limit)


def _checked_length(field: str, num_frames: int, fps: int | Fraction, limit: Limit) -> int:
    """`num_frames` where it is within limits; the errors speak of `field`, the one that the client gave."""
    if num_frames < MIN_FRAMES:
        fix = f"give at least {MIN_FRAMES} frames ({seconds_of(MIN_FRAMES, fps):g} seconds at {fps} fps)"
        raise TooFewFrames(
            f"{field} asks for {num_frames} frames; a video has at least {MIN_FRAMES}", field=field, fix=fix
        )
    if num_frames > limit.most:
        fix = f"give at most {limit.most} frames ({seconds_of(limit.most, fps):g} seconds at {fps} fps)"
        message = f"{field} asks for more than the {limit.most} frames allowed here, {limit.set_by}"
        raise TooManyFrames(message, field=field, fix=fix)
    return num_frames


def _rate_warnings(request: JobRequest, fps: int | Fraction) -> list[JobWarning]:
    """A decimal that was taken for an NTSC rate."""
    if not isinstance(request.fps, float) or Fraction(repr(request.fps)) == fps:
        return []
    message = f"fps {request.fps:g} was taken for {fps}"
    return [JobWarning(code=WarningCode.FRAME_RATE_SNAPPED, message=message, field="fps")]


def _length_warnings(request: JobRequest, spec: JobSpec, default: int) -> list[JobWarning]:
    """Another length than `seconds` or the deployment's default says."""
    length = f"{spec.num_frames} frames, {seconds_of(spec.num_frames, spec.fps):g} s at {spec.fps} fps"
    if request.seconds is not None and Fraction(repr(request.seconds)) * spec.fps != spec.num_frames:
        message = f"{request.seconds:g} s is no whole number of frames; the video has {length}"
        return [JobWarning(code=WarningCode.SECONDS_ROUNDED, message=message, field="seconds")]
    if request.seconds is None and request.num_frames is None and spec.num_frames < default:
        message = f"the default of {default} frames is more than {spec.model} makes; the video has {length}"
        return [JobWarning(code=WarningCode.LENGTH_SHORTENED, message=message, field="num_frames")]
    return []


def _check_given_media(request: JobRequest, facts: Preset, check: CheckReference) -> None:
    """Raise where image or video cannot be what the video begins with."""
    if request.image is not None and request.video is not None:
        raise InvalidField("both image and video are given", field="video", fix="give one of them")
    if request.image is not None:
        if not facts.accepts_image:
            message = f"{facts.name} makes its first frames from text only"
            fix = "leave it out, or use a model that says accepts_image in GET /models"
            raise FieldNotSupported(message, field="image", fix=fix)
        check(MediaKind.IMAGE, request.image)
    if request.video is not None:
        check(MediaKind.VIDEO, request.video)


def _profile(name: Profile, facts: Preset) -> ProfileDefaults:
    """A profile of the preset."""
    if name not in facts.profiles:
        fix = f"use {' or '.join(facts.profiles)}"
        raise FieldNotSupported(f"{facts.name} has no profile {name}", field="profile", fix=fix)
    return facts.profiles[name]


def _window_steps(asked: int | None, defaults: SamplingDefaults, facts: Preset, settings: Settings) -> int:
    """Denoising steps of a window."""
    own = defaults.num_inference_steps
    limit_of("max_inference_steps", facts, settings, own).check("num_inference_steps", asked or own)
    return asked or own  # never 0: at least 1


def _first_chunk(
    asked: FirstChunkOptions, defaults: SamplingDefaults, facts: Preset, settings: Settings
) -> FirstChunkSampling:
    own = defaults.num_inference_steps
    steps = asked.num_inference_steps or own
    limit_of("max_first_chunk_steps", facts, settings, own).check("first_chunk.num_inference_steps", steps)
    return FirstChunkSampling(
        num_inference_steps=steps,
        guidance_scale=asked.guidance_scale or defaults.guidance_scale,
    )


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
