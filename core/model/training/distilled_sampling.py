"""Sampling configs of distilled networks: what their profiles say in preset.json, and whose guidance they learn."""

from __future__ import annotations

from typing import Any, Literal

from core.model.engines.streaming_t2v.preset import PresetProfile, PresetSampling, StreamingPreset
from core.model.training.recipe import Recipe, RecipeError
from core.service.domain.schema import DEFAULT_PROFILE, Profile

Part = Literal["windows", "first_chunk"]
PART_OF: dict[str, Part] = {
    "window_guidance": "windows",
    "window_steps": "windows",
    "first_chunk_guidance": "first_chunk",
    "first_chunk_steps": "first_chunk",
}
"""Distillation stage -> the part of a profile that its adapter serves."""
STAGES_OF: dict[Part, tuple[str, str]] = {
    "windows": ("window_guidance", "window_steps"),
    "first_chunk": ("first_chunk_guidance", "first_chunk_steps"),
}


def teacher_sampling(preset: StreamingPreset, part: Part) -> PresetSampling:
    """How the preset samples a part without an adapter: in its default profile, else in another one.

    Raises RecipeError if it never does.
    """
    profiles = [preset.profiles[DEFAULT_PROFILE], *preset.profiles.values()]
    for sampling in (part_of(profile, part) for profile in profiles):
        if not sampling.distilled:
            return sampling
    raise RecipeError(
        f"preset {preset.name!r} has no profile whose {part} are not distilled: their guidance is unknown"
    )


def teacher_guidance(preset: StreamingPreset, part: Part) -> float:
    """The guidance scale that a student learns. Raises RecipeError if the preset guides some timesteps only."""
    teacher = teacher_sampling(preset, part)
    if teacher.guidance_interval is not None:
        raise RecipeError(
            f"preset {preset.name!r} has a guidance_interval for its {part}, which distillation cannot learn: it needs "
            "an undistilled profile that guides every step"
        )
    return teacher.guidance_scale


def distilled_sampling(recipe: Recipe, stage: str, teacher: PresetSampling) -> PresetSampling:
    """How a stage's adapter is sampled: without guidance, and in the student's steps if it was trained for them."""
    few_steps = recipe.stages[stage].few_steps
    changes: dict[str, Any] = {"guidance_scale": 1.0, "guidance_interval": None, "distilled": True}
    if few_steps is not None:
        changes |= {
            "num_inference_steps": few_steps.steps,
            "sampler": "ddim",
            "eta": 0.0,
            "timestep_spacing": "trailing",
            "deep_feature_steps": 1,
        }
    return teacher.model_copy(update=changes)


def with_distilled(preset: StreamingPreset, recipe: Recipe, stages: list[str]) -> StreamingPreset:
    """The preset whose default profile samples with the adapters of these stages, at most one of each part."""
    changes = {
        PART_OF[stage]: distilled_sampling(recipe, stage, teacher_sampling(preset, PART_OF[stage])) for stage in stages
    }
    profile = preset.profiles[DEFAULT_PROFILE].model_copy(update=changes)
    profiles: dict[Profile, PresetProfile] = {**preset.profiles, DEFAULT_PROFILE: profile}
    return preset.model_copy(update={"profiles": profiles})


def part_of(profile: PresetProfile, part: Part) -> PresetSampling:
    """How a profile samples a part."""
    return profile.windows if part == "windows" else profile.first_chunk
