"""Requests for videos of held-out scenes: the prompt is the plain caption, everything else is the preset's default."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.model.evaluation.generation.videos import VideoRequest
from core.model.training.sprites import captions, world
from core.model.training.sprites.scene_sampling import sample_scene
from core.service.admission.catalog import Preset, default_spec

SUITE_SEED = 2024


def suite_scenes(count: int) -> list[world.Scene]:
    """Held-out scenes, the same for every model."""
    return [sample_scene(np.random.default_rng((SUITE_SEED, index)), "held_out") for index in range(count)]


def suite_requests(preset: Preset, num_prompts: int, num_frames: int, folder: Path) -> list[VideoRequest]:
    """One video per scene, stored in `folder` by number."""
    return [
        VideoRequest(
            scene,
            default_spec(preset, captions.plain_caption(scene), num_frames, SUITE_SEED + index),
            folder / f"{index:03d}",
        )
        for index, scene in enumerate(suite_scenes(num_prompts))
    ]
