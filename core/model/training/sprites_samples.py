"""Samples of the `sprites` stages: which pictures show what a stage's networks can do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from core.model.sampling.vae import reconstructed, to_pictures
from core.model.training.samples import Opening, Row
from core.model.training.sprites.captions import plain_caption
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene

_SEED = 11


def held_out_openings(count: int, num_frames: int, scale: int) -> list[Opening]:
    """The first frames of held-out scenes, with their prompts."""
    scenes = [sample_scene(np.random.default_rng((_SEED, index)), "held_out") for index in range(count)]
    return [Opening(plain_caption(scene), render(scene, num_frames, scale=scale)) for scene in scenes]


def reconstructions(vae: AutoencoderKL, openings: Sequence[Opening]) -> list[Row]:
    """Each opening, and the same frames encoded and decoded."""
    return [
        row
        for opening in openings
        for row in (
            Row(f"{opening.prompt}\noriginal", opening.frames),
            Row("reconstruction", reconstructed(vae, to_pictures(opening.frames))),
        )
    ]
