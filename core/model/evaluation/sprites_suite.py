"""The `sprites` suite: which held-out scenes are asked for, in which words, with which sampling.

A scene is drawn and put into its most usual words; a video is made from the words alone. Knows scenes and requests;
makes and measures nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.model.evaluation.videos import Order
from core.model.training import captions, sprites
from core.service.admission.catalog import default_spec
from core.service.engines.preset import Preset

SUITE_SEED = 2024


def suite_scenes(count: int) -> list[sprites.Scene]:
    """Held-out scenes, the same for every model."""
    return [sprites.sample_scene(np.random.default_rng((SUITE_SEED, index)), "held_out") for index in range(count)]


def suite_orders(facts: Preset, num_prompts: int, num_frames: int, folder: Path) -> list[Order]:
    """A video of every scene with the preset's defaults, kept in `folder` by number."""
    return [
        Order(
            scene,
            default_spec(facts, captions.plain_caption(scene), num_frames, SUITE_SEED + index),
            folder / f"{index:03d}",
        )
        for index, scene in enumerate(suite_scenes(num_prompts))
    ]
