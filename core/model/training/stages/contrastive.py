"""Stage `clip`: train the text encoder and the small image encoder together, as CLIP (Radford et al. 2021).

The loss is contrastive. The caption of a clip is matched with a few of its frames. Two more terms make the image
encoder useful to long-term memory (APM): two frames of one clip form a pair, whatever has moved in between, and the
attributes named in captions and the unnamed texture are linearly readable from its embedding. The text encoder is
frozen afterwards: training it with the base unlearnt words before the base had learnt to use them.
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
from core.model.training.sprites import captions, world
from core.model.training.sprites.encoding import frames_to_tensor
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.sprites.word_tokenizer import token_ids
from core.service.domain.engine import FramesTHWC

STAGE = 4
PICTURE_WIDTH = 64
MOMENTS = (0, 5, 10, 15)
"""Frames that represent a clip: enough to show direction and speed."""
_TEMPERATURE = 0.1
_ATTRIBUTES = (world.SHAPES, tuple(world.COLOURS), world.BACKGROUNDS, world.TEXTURES)


def sprites_image_encoder(width: int = 64, layers: int = 3, patch: int = 8) -> CLIPVisionModelWithProjection:
    """The untrained image encoder: 64x64 pictures -> embedding of PICTURE_WIDTH, not normalised."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=PICTURE_WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=4,
            image_size=world.SIZE,
            patch_size=patch,
            hidden_act="gelu",
        )
    )


@dataclass(frozen=True)
class ContrastiveBatch:
    """B clips for one step: M frames of each, two random frames, captions, and attribute labels."""

    moments_bm3pr: Tensor
    pair_b23pr: Tensor
    texts: list[str]
    labels_ab: Tensor
    """Attribute indices [attributes, B]; -100 (ignored) for a sprite's attributes if the scene has two."""


class ContrastiveTask:
    """InfoNCE of captions and clips and of frame pairs, and cross-entropy of attributes predicted from embeddings."""

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
        return self.loss_of(contrastive_batch(self.seed, step, self.batch))

    def loss_of(self, batch: ContrastiveBatch) -> Tensor:
        """The sum of the three losses of `batch`, scalar."""
        size = len(batch.texts)
        pictures = torch.cat([batch.moments_bm3pr.flatten(0, 1), batch.pair_b23pr.flatten(0, 1)])
        moments, pairs = self.embed(pictures).split([size * len(MOMENTS), size * 2])
        clips = self.heads["clip"](moments.unflatten(0, (size, -1)).flatten(1))
        first, second = pairs.unflatten(0, (size, 2)).unbind(1)
        classifiers = cast("nn.ModuleList", self.heads["attributes"])
        attributes = [
            functional.cross_entropy(classifier(first).float(), labels)
            for classifier, labels in zip(classifiers, batch.labels_ab.to(first.device), strict=True)
        ]
        return info_nce(self.embed_texts(batch.texts), clips) + 0.3 * info_nce(first, second) + 0.3 * sum(attributes)

    def embed(self, pictures_b3pr: Tensor) -> Tensor:
        """Pictures in [-1, 1] -> embeddings [B, PICTURE_WIDTH] float32, not normalised."""
        prepared = preprocess_picture(pictures_b3pr.to(self.image_encoder.device), world.SIZE)
        return cast("Tensor", cast("Any", self.image_encoder)(pixel_values=prepared).image_embeds).float()

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Texts -> [B, PICTURE_WIDTH]: the mean of their tokens' states, projected."""
        ids_bl = token_ids(self.tokenizer, texts).to(self.text_encoder.device)
        states_bld = cast("Tensor", cast("Any", self.text_encoder)(ids_bl).last_hidden_state)
        not_padding_bl1 = (ids_bl != 0).unsqueeze(-1)
        mean_bd = (states_bld * not_padding_bl1).sum(1) / not_padding_bl1.sum(1)
        return self.heads["text"](mean_bd)


def info_nce(first_bd: Tensor, second_bd: Tensor) -> Tensor:
    """Symmetric InfoNCE loss, scalar: row i of one matches row i of the other."""
    first, second = functional.normalize(first_bd.float(), dim=-1), functional.normalize(second_bd.float(), dim=-1)
    similarity = first @ second.T / _TEMPERATURE
    matches = torch.arange(len(similarity), device=similarity.device)
    return 0.5 * (functional.cross_entropy(similarity, matches) + functional.cross_entropy(similarity.T, matches))


def contrastive_batch(seed: int, step: int, size: int) -> ContrastiveBatch:
    """`size` new clips, determined by (seed, step)."""
    rng = np.random.default_rng((seed, STAGE, step))
    scenes = [sample_scene(rng) for _ in range(size)]
    moments = [_frame(scene, moment) for scene in scenes for moment in MOMENTS]
    pairs = [_frame(scene, int(rng.integers(200))) for scene in scenes for _ in range(2)]
    return ContrastiveBatch(
        frames_to_tensor(np.stack(moments)).unflatten(0, (size, -1)),
        frames_to_tensor(np.stack(pairs)).unflatten(0, (size, 2)),
        [captions.caption(scene, rng) for scene in scenes],
        torch.tensor([_labels(scene) for scene in scenes]).T,
    )


def _frame(scene: world.Scene, frame: int) -> FramesTHWC:
    return render(scene, 1, frame)[0]


def _labels(scene: world.Scene) -> list[int]:
    """Indices into _ATTRIBUTES; for two sprites only the background is unambiguous."""
    background = world.BACKGROUNDS.index(scene.background)
    sprite, *others = scene.sprites
    if others:
        return [-100, -100, background, -100]
    return [
        world.SHAPES.index(sprite.shape),
        tuple(world.COLOURS).index(sprite.colour),
        background,
        world.TEXTURES.index(sprite.texture),
    ]
