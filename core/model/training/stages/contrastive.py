"""Stages `clip` and `tower`: train the text encoder and the small image encoder together, as CLIP (Radford et al.
2021), then the image encoder alone.

The loss is contrastive. The caption of a clip is matched with a few of its frames. Three more terms make the image
encoder useful to long-term memory (APM): two frames of one clip form a pair, whatever has moved in between; the
attributes named in captions and the kind of texture are linearly readable from its embedding; and so is the surface
pattern itself, wherever the object is. The text encoder is frozen after the stage `clip`: training it with the base
unlearnt words before the base had learnt to use them.
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
from core.model.training.sprites.rendering import Floats, render, surface
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.sprites.word_tokenizer import token_ids
from core.service.domain.engine import FramesTHWC

STAGE = 4
PICTURE_WIDTH = 64
MOMENTS = (0, 5, 10, 15)
"""Frames that represent a clip: enough to show direction and speed."""
_TEMPERATURE = 0.1
_SURFACE_SIDE = 8
_SURFACE_SPAN = 16.0
"""Grid of an object's surface that is read from an embedding, and the pixels that it spans: all inside the object."""
_MAX_SPRITES = 2
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
    surfaces_bsg: Tensor
    """Surface patterns of up to two sprites [B, 2, grid points] in [-1, 1]; NaN for a sprite that a scene lacks."""


class ContrastiveTask:
    """InfoNCE of captions and clips and of frame pairs; and how well attributes (cross-entropy) and surface patterns
    (squared error) are predicted from embeddings."""

    def __init__(
        self,
        text_encoder: CLIPTextModel,
        image_encoder: CLIPVisionModelWithProjection,
        tokenizer: Tokenizer,
        seed: int,
        batch: int = 96,
        *,
        train_text: bool = True,
    ) -> None:
        """Without `train_text` the text encoder is frozen."""
        self.text_encoder = text_encoder.requires_grad_(train_text)
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
        self.surface_head = nn.Linear(PICTURE_WIDTH, _MAX_SPRITES * _SURFACE_SIDE**2).to(text_encoder.device)
        self.modules: dict[str, nn.Module] = {
            "text_encoder": text_encoder,
            "image_encoder": image_encoder,
            "heads": self.heads,
            "surface_head": self.surface_head,
        }
        self.tokenizer = tokenizer
        self.seed = seed
        self.batch = batch

    def loss(self, step: int) -> Tensor:
        batch = contrastive_batch(self.seed, step, self.batch)
        pictures = torch.cat([batch.moments_bm3pr.flatten(0, 1), batch.pair_b23pr.flatten(0, 1)])
        embeddings = self.embed(pictures)
        moments, pairs = embeddings.split([self.batch * len(MOMENTS), self.batch * 2])
        clips = self.heads["clip"](moments.unflatten(0, (self.batch, -1)).flatten(1))
        first, second = pairs.unflatten(0, (self.batch, 2)).unbind(1)
        classifiers = cast("nn.ModuleList", self.heads["attributes"])
        attributes = [
            functional.cross_entropy(classifier(first).float(), labels)
            for classifier, labels in zip(classifiers, batch.labels_ab.to(first.device), strict=True)
        ]
        surfaces_bsg = batch.surfaces_bsg.to(first.device)
        shown = torch.cat([surfaces_bsg.repeat_interleave(len(MOMENTS), 0), surfaces_bsg.repeat_interleave(2, 0)])
        named = info_nce(self.embed_texts(batch.texts), clips) + 0.3 * sum(attributes)
        return named + 0.3 * info_nce(first, second) + self.surface_error(embeddings, shown)

    def surface_error(self, embeddings_bp: Tensor, surfaces_bsg: Tensor) -> Tensor:
        """Mean squared error of surface patterns read from embeddings, relative to their variance; scalar."""
        read_bsg = self.surface_head(embeddings_bp).float().view_as(surfaces_bsg)
        there = ~surfaces_bsg.isnan()
        return ((read_bsg - surfaces_bsg)[there] ** 2).mean() / surfaces_bsg[there].var()

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
        torch.from_numpy(np.stack([_surfaces(scene) for scene in scenes])),
    )


def _frame(scene: world.Scene, frame: int) -> FramesTHWC:
    return render(scene, 1, frame)[0]


def _surfaces(scene: world.Scene) -> Floats:
    """[2, grid points]; rows of missing sprites are NaN."""
    rows = [surface(sprite, _SURFACE_SIDE, _SURFACE_SPAN).ravel() for sprite in scene.sprites]
    missing = np.full(_SURFACE_SIDE**2, np.nan, np.float32)
    return np.stack([*rows, *[missing] * (_MAX_SPRITES - len(rows))])


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
