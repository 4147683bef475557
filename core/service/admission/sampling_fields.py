"""Profile, steps and guidance of a request, with the defaults of its preset."""

from __future__ import annotations

from core.service.admission.limits import limit_of
from core.service.domain.errors import FieldNotSupported
from core.service.domain.schema import DEFAULT_PROFILE, FirstChunkOptions, FirstChunkSampling, JobRequest, Profile
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
