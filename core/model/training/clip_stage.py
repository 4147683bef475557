"""Train the text encoder and the small vision tower together: words and pictures that belong together meet.

Contrastive, as CLIP (Radford et al. 2021), over clips: the text of a clip against a few of its frames. Two more terms
make the tower what long-term memory (APM) reads: two moments of one clip are a pair, whatever has moved in between, and
the named attributes and the unnamed texture can be read off it linearly. The text encoder is then frozen: a base that
trains it unlearns a word before it has learnt to read it. Knows nothing of the UNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from core.model.networks.picture_preprocessing import preprocess_picture
from core.model.training import captions, data, sprites
from core.model.training.vae_stage import to_signal

STAGE = 4
PICTURE_WIDTH = 64
MOMENTS = (0, 5, 10, 15)
"""Frames of a clip that stand for it: enough to tell where it goes and how fast."""
_TEMPERATURE = 0.1
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


@dataclass(frozen=True)
class ClipBatch:
    """Clips for one step: B clips, M moments of each, two random later frames, the text, the first sprite's looks."""

    moments_bm3pr: Tensor
    pair_b23pr: Tensor
    texts: list[str]
    labels_ab: Tensor
    """Attribute indices of the only sprite [attributes, B]; -100 (ignored) where a scene has two."""


class ClipTask:
    """InfoNCE of texts and clips and of frame pairs, and cross-entropy of attributes read from the embedding."""

    def __init__(
        self,
        text_encoder: CLIPTextModel,
        image_encoder: CLIPVisionModelWithProjection,
        tokenizer: Tokenizer,
        seed: int,
        batch: int = 96,
    ) -> None:
        self.text_encoder = text_encoder
        self.image_encoder = image_encoder
        text_width = int(cast("Any", text_encoder.config).hidden_size)
        self.heads = nn.ModuleDict(
            {
                "text": nn.Linear(text_width, PICTURE_WIDTH),
                "clip": nn.Sequential(
                    nn.Linear(len(MOMENTS) * PICTURE_WIDTH, 2 * PICTURE_WIDTH),
                    nn.GELU(),
                    nn.Linear(2 * PICTURE_WIDTH, PICTURE_WIDTH),
                ),
                "attributes": nn.ModuleList(nn.Linear(PICTURE_WIDTH, len(values)) for values in _ATTRIBUTES),
            }
        ).to(text_encoder.device)
        self.modules: dict[str, nn.Module] = {
            "text_encoder": text_encoder,
            "image_encoder": image_encoder,
            "heads": self.heads,
        }
        self.tokenizer = tokenizer
        self.seed = seed
        self.batch = batch

    def loss(self, step: int) -> Tensor:
        batch = clip_batch(self.seed, step, self.batch)
        pictures = torch.cat([batch.moments_bm3pr.flatten(0, 1), batch.pair_b23pr.flatten(0, 1)])
        moments, pairs = self.embed(pictures).split([self.batch * len(MOMENTS), self.batch * 2])
        clips = self.heads["clip"](moments.unflatten(0, (self.batch, -1)).flatten(1))
        first, second = pairs.unflatten(0, (self.batch, 2)).unbind(1)
        readers = cast("nn.ModuleList", self.heads["attributes"])
        named = [
            functional.cross_entropy(reader(first).float(), labels)
            for reader, labels in zip(readers, batch.labels_ab.to(first.device), strict=True)
        ]
        return contrast(self.embed_texts(batch.texts), clips) + 0.3 * contrast(first, second) + 0.3 * sum(named)

    def embed(self, pictures_b3pr: Tensor) -> Tensor:
        """Pictures in [-1, 1] -> embeddings [B, PICTURE_WIDTH] float32, not normalised."""
        prepared = preprocess_picture(pictures_b3pr.to(self.image_encoder.device), sprites.SIZE)
        return cast("Tensor", cast("Any", self.image_encoder)(pixel_values=prepared).image_embeds).float()

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Texts -> [B, PICTURE_WIDTH]: the mean state of their words, projected."""
        ids_bl = data.encode(self.tokenizer, texts).to(self.text_encoder.device)
        states_bld = cast("Tensor", cast("Any", self.text_encoder)(ids_bl).last_hidden_state)
        written_bl1 = (ids_bl != 0).unsqueeze(-1)
        mean_bd = (states_bld * written_bl1).sum(1) / written_bl1.sum(1)
        return self.heads["text"](mean_bd)


def contrast(first_bd: Tensor, second_bd: Tensor) -> Tensor:
    """InfoNCE both ways: row i of one belongs to row i of the other."""
    first, second = functional.normalize(first_bd.float(), dim=-1), functional.normalize(second_bd.float(), dim=-1)
    likeness = first @ second.T / _TEMPERATURE
    same = torch.arange(len(likeness), device=likeness.device)
    return 0.5 * (functional.cross_entropy(likeness, same) + functional.cross_entropy(likeness.T, same))


def clip_batch(seed: int, step: int, size: int) -> ClipBatch:
    """`size` fresh clips; the same (seed, step) gives the same."""
    rng = np.random.default_rng((seed, STAGE, step))
    scenes = [sprites.sample_scene(rng) for _ in range(size)]
    moments = [_frame(scene, moment) for scene in scenes for moment in MOMENTS]
    pairs = [_frame(scene, int(rng.integers(200))) for scene in scenes for _ in range(2)]
    return ClipBatch(
        to_signal(np.stack(moments)).unflatten(0, (size, -1)),
        to_signal(np.stack(pairs)).unflatten(0, (size, 2)),
        [captions.caption(scene, rng) for scene in scenes],
        torch.tensor([_labels(scene) for scene in scenes]).T,
    )


def _frame(scene: sprites.Scene, frame: int) -> sprites.Pixels:
    return sprites.render(scene, 1, frame)[0]


def _labels(scene: sprites.Scene) -> list[int]:
    """Indices into _ATTRIBUTES; a scene of two sprites has no one answer but its background."""
    background = sprites.BACKGROUNDS.index(scene.background)
    sprite, *others = scene.sprites
    if others:
        return [-100, -100, background, -100]
    return [
        sprites.SHAPES.index(sprite.shape),
        tuple(sprites.COLOURS).index(sprite.colour),
        background,
        sprites.TEXTURES.index(sprite.texture),
    ]
