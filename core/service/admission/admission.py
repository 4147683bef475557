"""A JobRequest becomes a complete JobSpec, or is refused before any GPU time is spent.

Pure, except that `resolve` and `check_reference` look up the webhook's host and the input media. Knows no HTTP; every
refusal is a RequestError with the field at fault and the fix.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from core.service.admission.catalog import Catalog, PresetFolder
from core.service.admission.control import control_spec_of
from core.service.admission.input_media import CheckReference, check_input_media
from core.service.admission.length import length_of, length_warnings, rate_warnings
from core.service.admission.limits import limit_of, refine_limits
from core.service.admission.prompts import (
    ReadPrompt,
    check_length,
    check_within,
    read_negative_prompt,
    read_prompts,
    takes_prompt,
    text_field,
)
from core.service.admission.refine_request import check_lockstep, refine_spec_of
from core.service.admission.request_body import parse_parameters, written
from core.service.admission.sampling_fields import (
    distillation_warnings,
    first_chunk_sampling,
    profile_of,
    window_steps,
)
from core.service.admission.size import size_of
from core.service.domain.errors import FieldNotSupported, InvalidField, PromptTooLong
from core.service.domain.frame_rate import parse_frame_rate
from core.service.domain.link_tokens import new_link_secret
from core.service.domain.schema import (
    DEFAULT_WEBHOOK_EVENTS,
    FirstChunkOptions,
    JobRecord,
    JobRequest,
    JobSpec,
    JobStatus,
    JobWarning,
    RefineSpec,
    WebhookEvent,
)
from core.service.domain.text import check_characters
from core.service.domain.webhook_secret import SECRET_PREFIX, MalformedSecret, key_of
from core.service.engines.capabilities import ALL_ENGINE_FIELDS
from core.service.engines.definition import Parameters
from core.service.engines.preset import Preset
from core.service.net.address_guard import WEBHOOK, Resolve, allowed_addresses, resolve_host
from core.service.settings import Settings


@dataclass(frozen=True)
class Admitted:
    """A complete request, its warnings, and what of it no answer shows."""

    spec: JobSpec
    warnings: tuple[JobWarning, ...] = ()
    webhook_secret: str | None = dataclasses.field(default=None, repr=False)


def random_seed() -> int:
    """A seed for requests without one. 32 bits: short enough to be typed again."""
    return secrets.randbelow(2**32)


def queued_record(
    job_id: str, admitted: Admitted, now: datetime, request_sha256: str, owner: str | None = None, share: float = 1.0
) -> JobRecord:
    """The record of a job admitted at `now`. `request_sha256` is of the request as it was sent; `owner` is the id of
    its API key, and `share` the weight of that in the fair share."""
    return JobRecord(
        id=job_id,
        status=JobStatus.QUEUED,
        spec=admitted.spec,
        created_at=now,
        warnings=admitted.warnings,
        webhook_secret=admitted.webhook_secret,
        request_sha256=request_sha256,
        owner=owner,
        share=share,
        link_secret=new_link_secret(),
    )


def admit(
    request: JobRequest,
    catalog: Catalog,
    settings: Settings,
    new_seed: Callable[[], int],
    check_reference: CheckReference,
    resolve: Resolve = resolve_host,
    most_frames: int | None = None,
) -> Admitted:
    """The request with every default filled in and every limit of preset and deployment checked; and its warnings.

    `most_frames`: of a video that is as long as its input; None: the limit of preset and deployment.
    Raises a RequestError (also UnknownModel), or PresetError if the preset's files cannot be read.
    """
    _check_characters(request)
    model = settings.default_model if request.model is None else request.model
    folder = catalog.get(model)
    preset = folder.preset
    _check_supported(request, preset)
    control = control_spec_of(request.control, folder)  # first: its command installs the whole model, too
    prompts = read_prompts(request, folder)
    negative_prompt = _negative_prompt(request, folder)
    fps = preset.fps if request.fps is None else parse_frame_rate(request.fps)
    check_input_media(request, preset, check_reference)
    height, width = size_of(request, preset)
    profile, defaults = profile_of(request, preset)
    refine = _refine(request, prompts.texts, folder, settings)
    num_frames, endless_limit = length_of(request, preset, fps, settings, most_frames)
    check_within(prompts.changes, num_frames)
    if refine is not None:
        check_lockstep(refine, num_frames, limit_of("max_lockstep_frames", preset, settings))
    spec = JobSpec(
        prompt=prompts.first,
        prompt_changes=prompts.changes,
        negative_prompt=negative_prompt.text,
        num_frames=num_frames,
        endless_limit=endless_limit,
        fps=fps,
        seed=new_seed() if request.seed is None else request.seed,
        model=model,
        guidance_scale=request.guidance_scale or defaults.guidance_scale,  # never 0: at least 1
        num_inference_steps=window_steps(request.num_inference_steps, defaults, preset, settings),
        profile=profile,
        first_chunk=first_chunk_sampling(request.first_chunk or FirstChunkOptions(), defaults, preset, settings),
        parameters=_parameters(request, folder),
        image=request.image,
        video=request.video,
        control=control,
        height=height,
        width=width,
        refine=refine,
        measure=request.measure,
        webhook_url=webhook_url_of(request.webhook_url, settings, resolve),
        webhook_events=webhook_events_of(request.webhook_events, request.webhook_url),
        metadata=request.metadata or {},
        priority=request.priority,
    )
    about_length = length_warnings(request, spec, settings.default_num_frames)
    about_sampling = distillation_warnings(request, profile, defaults, preset)
    about_prompts = (*prompts.warnings, *negative_prompt.warnings)
    warnings = (*about_prompts, *rate_warnings(request, fps), *about_length, *about_sampling)
    return Admitted(spec, warnings, webhook_secret_of(request.webhook_secret, request.webhook_url))


def _check_characters(request: JobRequest) -> None:
    """Raises InvalidField for text with control characters or bidirectional formatting."""
    for field in ("prompt", "negative_prompt", "model", "image", "video", "webhook_url"):
        check_characters(field, getattr(request, field) or "")
    check_texts("metadata", request.metadata)
    check_texts("parameters", request.parameters)
    check_texts("control", request.control and request.control.model_dump(include={"type", "video"}))
    for index, prompt in enumerate(request.prompts or ()):
        check_texts(text_field(index), prompt.text)


def check_texts(field: str, value: object) -> None:
    """Raises InvalidField for such characters in any string of a JSON value."""
    for path, text in _texts(field, value):
        check_characters(path, text)


def _texts(field: str, value: object) -> Iterator[tuple[str, str]]:
    """All strings in a JSON value, keys included, each with the path of its field."""
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
    """`parameters` with the defaults of preset and engine filled in, as JSON; without those that would do nothing."""
    model = folder.engine.parameters
    if model is Parameters and request.parameters:
        raise FieldNotSupported(f"{folder.preset.name} takes no parameters", field="parameters", fix="leave it out")
    idle = folder.preset.idle_parameters(has_video=request.video is not None, has_control=request.control is not None)
    for name, problem in idle.items():
        if name in (request.parameters or {}):
            raise FieldNotSupported(problem, field=f"parameters.{name}", fix="leave it out")
    used = parse_parameters(folder.preset.parameters | (request.parameters or {}), model)
    return used.model_dump(mode="json", exclude=set(idle))


def _negative_prompt(request: JobRequest, folder: PresetFolder) -> ReadPrompt:
    """The request's, or else the preset's, which gives no warnings; an empty one if nothing would read it."""
    if request.negative_prompt is not None:
        return read_negative_prompt(request.negative_prompt, folder)
    if not folder.preset.negative_prompt or not takes_prompt(request, folder.preset.capabilities):
        return ReadPrompt("", ())
    check_length("negative_prompt", folder.preset.negative_prompt, folder)
    return ReadPrompt(folder.preset.negative_prompt, ())


def check_refiner(field: str, prompt: str, folder: PresetFolder) -> None:
    """Raises PromptTooLong if the prompt and the suffix that the refiner appends are too long."""
    refiner, limit = folder.preset.refiner, folder.preset.max_prompt_tokens
    suffix, count = refiner.prompt_suffix if refiner else "", folder.tokenizer.count
    num_tokens = count(prompt + suffix)
    if num_tokens > limit:
        message = f"{field} has {num_tokens} tokens with the {suffix!r} that the refiner appends; {limit} are read"
        room = limit - (num_tokens - count(prompt))
        fix = f"shorten it to at most {room} tokens, or leave `refine` out"
        raise PromptTooLong(message, field=field, fix=fix)


def _refine(
    request: JobRequest, prompts: dict[str, str], folder: PresetFolder, settings: Settings
) -> RefineSpec | None:
    """Raises ModelNotInstalled, PromptTooLong. `prompts`: by field."""
    preset = folder.preset
    limits = None if preset.refiner is None else refine_limits(preset, preset.refiner, settings)
    refine = refine_spec_of(request.refine, preset, limits)
    if refine is not None:
        folder.require_refiner()
        for field, text in prompts.items():
            check_refiner(field, text, folder)
    return refine


def webhook_url_of(url: str | None, settings: Settings, resolve: Resolve) -> str | None:
    """`url` itself. Raises WebhookUrlRefused."""
    if url is not None:
        allowed_addresses(url, WEBHOOK, settings, resolve)
    return url


def webhook_events_of(events: Sequence[WebhookEvent] | None, url: str | None) -> tuple[WebhookEvent | str, ...]:
    """The requested events, each once, in the order of the request."""
    if events is None:
        return DEFAULT_WEBHOOK_EVENTS
    if url is None:
        message, fix = "webhook_events without webhook_url", "give webhook_url, or leave webhook_events out"
        raise InvalidField(message, field="webhook_events", fix=fix)
    if not events:
        message, fix = "webhook_events is empty", "name at least one event, or leave it out for the default"
        raise InvalidField(message, field="webhook_events", fix=fix)
    return tuple(dict.fromkeys(events))


def webhook_secret_of(secret: str | None, url: str | None) -> str | None:
    """`secret` itself. Raises InvalidField, without it, if nothing can be signed with it."""
    if secret is None:
        return None
    if url is None:
        message, fix = "webhook_secret without webhook_url", "give webhook_url, or leave webhook_secret out"
        raise InvalidField(message, field="webhook_secret", fix=fix)
    try:
        key_of(secret)
    except MalformedSecret as error:
        fix = f"give {SECRET_PREFIX} followed by the base64 of 32 random bytes"
        raise InvalidField(f"webhook_secret {error.why}", field="webhook_secret", fix=fix) from None
    return secret
