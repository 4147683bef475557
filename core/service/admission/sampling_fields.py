"""Profile, steps and guidance of a request, with the defaults of its preset."""

from __future__ import annotations

from core.service.admission.limits import limit_of
from core.service.domain.errors import FieldNotSupported
from core.service.domain.schema import (
    DEFAULT_PROFILE,
    FirstChunkOptions,
    FirstChunkSampling,
    JobRequest,
    JobWarning,
    Profile,
    WarningCode,
)
from core.service.engines.preset import Preset, ProfileDefaults
from core.service.settings import Settings


def profile_of(request: JobRequest, preset: Preset) -> tuple[Profile | None, ProfileDefaults]:
    """The profile (None if the engine has no profiles) and its sampling config. Raises FieldNotSupported."""
    name = request.profile or DEFAULT_PROFILE
    if "profile" not in preset.capabilities.fields:
        return None, preset.profile_defaults.get(DEFAULT_PROFILE, ProfileDefaults())
    if name not in preset.profile_defaults:
        fix = f"use {' or '.join(preset.profile_defaults)}"
        raise FieldNotSupported(f"{preset.name} has no profile {name}", field="profile", fix=fix)
    return name, preset.profile_defaults[name]


def distillation_warnings(
    request: JobRequest, profile: Profile | None, defaults: ProfileDefaults, preset: Preset
) -> list[JobWarning]:
    """Warnings about guidance, or another number of steps, for weights that were distilled for the profile's own."""
    first, own_first = request.first_chunk or FirstChunkOptions(), defaults.first_chunk
    asked: list[tuple[str, float | None, float | None, bool]] = [
        ("guidance_scale", request.guidance_scale, defaults.guidance_scale, defaults.distilled),
        ("num_inference_steps", request.num_inference_steps, defaults.num_inference_steps, defaults.distilled),
    ]
    if own_first is not None:
        asked += [
            (f"first_chunk.{name}", getattr(first, name), getattr(own_first, name), defaults.first_chunk_distilled)
            for name in ("guidance_scale", "num_inference_steps")
        ]
    return [
        JobWarning(code=WarningCode.DISTILLED_PROFILE, message=_about(field, own, profile, preset), field=field)
        for field, value, own, distilled in asked
        if distilled and value is not None and value != own
    ]


def _about(field: str, own: float | None, profile: Profile | None, preset: Preset) -> str:
    if field.endswith("guidance_scale"):
        return f"guidance is already in the weights of profile {profile} of {preset.name}; this adds to it"
    return f"the weights of profile {profile} of {preset.name} are distilled for {own} steps; others may look worse"


def window_steps(asked: int | None, defaults: ProfileDefaults, preset: Preset, settings: Settings) -> int | None:
    """Denoising steps of a window; None if the engine has none. Raises InvalidField."""
    own = defaults.num_inference_steps
    if asked or own:
        limit_of("max_inference_steps", preset, settings, own or 0).check("num_inference_steps", asked or own or 0)
    return asked or own  # never 0: at least 1


def first_chunk_sampling(
    asked: FirstChunkOptions, defaults: ProfileDefaults, preset: Preset, settings: Settings
) -> FirstChunkSampling | None:
    """Steps and guidance of the first chunk; None if the engine has none. Raises InvalidField."""
    own = defaults.first_chunk
    if own is None:
        return None
    steps = asked.num_inference_steps or own.num_inference_steps
    limit = limit_of("max_first_chunk_steps", preset, settings, own.num_inference_steps)
    limit.check("first_chunk.num_inference_steps", steps)
    return FirstChunkSampling(num_inference_steps=steps, guidance_scale=asked.guidance_scale or own.guidance_scale)
