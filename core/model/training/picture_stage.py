"""Train the small vision tower that long-term memory (APM) reads: what an object looks like, wherever it is.

Contrastive (InfoNCE): two frames of one clip, some frames apart, are a pair, all other clips of the batch are not. What
pairs share is colour, shape, background and the unnamed texture: exactly what an anchor frame has to carry. A linear
reader of the named words keeps those easy to read. Knows nothing of the UNet.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from core.model.streaming_t2v.apm import preprocess_picture
from core.model.training import sprites
from core.model.training.vae_stage import to_signal

STAGE = 4
PICTURE_WIDTH = 64
_ATTRIBUTES = (sprites.SHAPES, tuple(sprites.COLOURS), sprites.BACKGROUNDS, sprites.TEXTURES)


def build_image_encoder(width: int = 64, layers: int = 3, patch: int = 8) -> CLIPVisionModelWithProjection:
    """Build the untrained vision tower: 64x64 pictures -> embedding of PICTURE_WIDTH, not normalised."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=PICTURE_WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=4,
            image_size=sprites.SIZE,
            patch_size=patch,
            hidden_act="gelu",
        )
    )


class PictureTask:
    """InfoNCE on pairs of frames plus cross-entropy of the attributes read linearly from the embedding."""

    def __init__(self, encoder: CLIPVisionModelWithProjection, seed: int, batch: int = 96) -> None:
        self.encoder = encoder
        self.readers = nn.ModuleList(nn.Linear(PICTURE_WIDTH, len(values)) for values in _ATTRIBUTES)
        self.modules: dict[str, nn.Module] = {"image_encoder": encoder, "readers": self.readers}
        self.seed = seed
        self.batch = batch

    def loss(self, step: int) -> Tensor:
        first_b3pr, second_b3pr, labels_ab = pair_batch(self.seed, step, self.batch)
        embeddings = self.embed(torch.cat([first_b3pr, second_b3pr]))
        first, second = functional.normalize(embeddings, dim=-1).chunk(2)
        likeness = first @ second.T / 0.1
        same = torch.arange(self.batch)
        contrast = functional.cross_entropy(likeness, same) + functional.cross_entropy(likeness.T, same)
        named = sum(
            (
                functional.cross_entropy(reader(embeddings).float(), labels.repeat(2))
                for reader, labels in zip(self.readers, labels_ab, strict=True)
            ),
            torch.zeros(()),
        )
        return 0.5 * contrast + 0.5 * named

    def embed(self, pictures_b3pr: Tensor) -> Tensor:
        """Pictures in [-1, 1] -> embeddings [B, PICTURE_WIDTH] float32, not normalised."""
        prepared = preprocess_picture(pictures_b3pr, sprites.SIZE)
        return cast("Tensor", cast("Any", self.encoder)(pixel_values=prepared).image_embeds).float()


def pair_batch(seed: int, step: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two frames of each of `size` scenes, [size, 3, 64, 64] in [-1, 1], and attribute indices [attributes, size]."""
    rng = np.random.default_rng((seed, STAGE, step))
    scenes = [sprites.later(sprites.sample_scene(rng), int(rng.integers(200))) for _ in range(size)]
    first = np.concatenate([sprites.render(scene, 1) for scene in scenes])
    second = np.concatenate([sprites.render(scene, 1, int(rng.integers(4, 25))) for scene in scenes])
    labels = [
        [values.index(value) for scene in scenes if (value := getattr(scene, name))]
        for values, name in zip(_ATTRIBUTES, ("shape", "colour", "background", "texture"), strict=True)
    ]
    return to_signal(first), to_signal(second), torch.tensor(labels)
