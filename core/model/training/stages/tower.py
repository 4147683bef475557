"""Stage `tower`: train the image encoder further, the text encoder frozen, until its embedding shows surface patterns.

APM reads an anchor frame through this embedding alone, and no caption names a surface. Contrastive training does not
find them: they are faint, and where an object is does not matter to them. So single pictures are shown for which the
pattern around each object's centre is to be read linearly from the embedding; and, as a step towards it, which part of
an object each patch shows is to be read from the states of the patches (deep supervision, Lee et al. 2015). Patterns
begin with more contrast than they have.

Shapes: B pictures, S sprites, G points of a surface, K patches, P, R picture rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.picture_preprocessing import preprocess_picture
from core.model.training.sprites import world
from core.model.training.sprites.encoding import frames_to_tensor
from core.model.training.sprites.motion import sprite_positions
from core.model.training.sprites.rendering import CONTRAST, Floats, offsets_from, render, silhouette, surface
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.stages.contrastive import PICTURE_WIDTH, ContrastiveTask, contrastive_batch

STAGE = 14
_SIDE = 8
_SPAN = 16.0
"""Points per side of a surface, and the pixels that they span around an object's centre."""
_MAX_SPRITES = 2
_POINTS_PER_PATCH = 4
"""Per side."""
_UNIT = 16.0
"""Pixels per unit of the offsets that patches are to show."""
_DEEP_STATES = 2
"""Layers below the states of the patches that are supervised."""
_FIRST_CONTRAST = 0.45
_FADING_STEPS = 1500
"""Steps until no pattern has more contrast than in the world's own pictures."""


@dataclass(frozen=True)
class SurfaceBatch:
    """Pictures, and what is to be read from them."""

    pictures_b3pr: Tensor
    surfaces_bsg: Tensor
    """Patterns in [-1, 1]; NaN for a sprite that a scene lacks."""
    patches_bkd: Tensor
    """Of each patch: coverage by objects, offset (x, y) from the object's centre, and the object's pattern."""


class TowerTask:
    """The contrastive losses, and squared errors of surfaces and patches, relative to their variances."""

    def __init__(self, contrastive: ContrastiveTask, seed: int, batch: int) -> None:
        """Freezes the text encoder of `contrastive`. Each step reads `batch` pictures, and half as many clips (at least
        2) with the losses of `contrastive`."""
        contrastive.text_encoder.requires_grad_(False)
        self.contrastive = contrastive
        self.image_encoder = contrastive.image_encoder
        config = cast("Any", self.image_encoder.config)
        self.patch: int = config.patch_size
        device = self.image_encoder.device
        self.heads = nn.ModuleDict(
            {
                "surface": nn.Linear(PICTURE_WIDTH, _MAX_SPRITES * _SIDE**2),
                "norm": nn.LayerNorm(config.hidden_size, elementwise_affine=False),
                "patch": nn.Linear(config.hidden_size, 3 + _POINTS_PER_PATCH**2),
            }
        ).to(device)
        self.modules: dict[str, nn.Module] = {**contrastive.modules, "tower_heads": self.heads}
        self.seed = seed
        self.batch = batch
        self.clips = max(2, batch // 2)

    def loss(self, step: int) -> Tensor:
        batch = surface_batch(self.seed, step, self.batch, self.patch)
        prepared = preprocess_picture(batch.pictures_b3pr.to(self.image_encoder.device), world.SIZE)
        read = cast("Any", self.image_encoder)(pixel_values=prepared, output_hidden_states=True)
        surfaces_bsg = batch.surfaces_bsg.to(prepared.device)
        there = ~surfaces_bsg.isnan()
        shown_bsg = self.heads["surface"](read.image_embeds).float().view_as(surfaces_bsg)
        of_surfaces = functional.mse_loss(shown_bsg[there], surfaces_bsg[there]) / surfaces_bsg[there].var()
        states_bkw = self.heads["norm"](read.hidden_states[_DEEP_STATES][:, 1:].float())
        of_patches = _patch_error(self.heads["patch"](states_bkw).float(), batch.patches_bkd.to(prepared.device))
        of_clips = self.contrastive.loss_of(contrastive_batch(self.contrastive.seed, step, self.clips))
        return of_clips + 2 * of_surfaces + of_patches


def _patch_error(read_bkd: Tensor, shown_bkd: Tensor) -> Tensor:
    """Relative squared errors of coverage, pattern, and the offset where there is an object; scalar."""
    (coverage, offset, pattern), (covered, there, shown) = (
        part.split([1, 2, _POINTS_PER_PATCH**2], dim=-1) for part in (read_bkd, shown_bkd)
    )
    counted = (covered > 0).expand_as(there)
    return (
        functional.mse_loss(coverage, covered) / covered.var()
        + functional.mse_loss(pattern, shown) / shown.var()
        + functional.mse_loss(offset[counted], there[counted]) / there[counted].var()
    )


def surface_batch(seed: int, step: int, size: int, patch: int) -> SurfaceBatch:
    """`size` new single pictures, determined by (seed, step). `patch`: the side of a patch in pixels."""
    rng = np.random.default_rng((seed, STAGE, step))
    most = CONTRAST + (_FIRST_CONTRAST - CONTRAST) * max(0.0, 1 - step / _FADING_STEPS)
    pictures, surfaces, patches = [], [], []
    for _ in range(size):
        scene, frame = sample_scene(rng), int(rng.integers(200))
        pictures.append(render(scene, 1, frame, contrast=float(rng.uniform(CONTRAST, most)))[0])
        surfaces.append(_surfaces(scene))
        patches.append(_patches(scene, frame, patch))
    return SurfaceBatch(
        frames_to_tensor(np.stack(pictures)),
        torch.from_numpy(np.stack(surfaces)),
        torch.from_numpy(np.stack(patches)),
    )


def _surfaces(scene: world.Scene) -> Floats:
    """[S, G]; rows of missing sprites are NaN."""
    points = (((np.arange(_SIDE) + 0.5) / _SIDE - 0.5) * _SPAN).astype(np.float32)
    dx, dy = np.meshgrid(points, points)
    rows = [surface(sprite, dx, dy).ravel() for sprite in scene.sprites]
    missing = np.full(_SIDE**2, np.nan, np.float32)
    return np.stack([*rows, *[missing] * (_MAX_SPRITES - len(rows))])


def _patches(scene: world.Scene, frame: int, patch: int) -> Floats:
    """[K, 3 + points]: what each patch shows of the objects; of the last one drawn where two meet."""
    whole = np.zeros((world.SIZE, world.SIZE, 4), np.float32)  # coverage, offset (x, y), pattern
    for sprite, position in zip(scene.sprites, sprite_positions(scene, frame), strict=True):
        mask = silhouette(sprite.shape, position.x, position.y, sprite.radius)
        dx, dy = offsets_from(position.x, position.y)
        drawn = np.stack([np.ones_like(dx), dx / _UNIT, dy / _UNIT, surface(sprite, dx, dy)], axis=-1)
        whole[mask] = drawn[mask]
    coverage, *offsets = np.moveaxis(_means(whole[..., :3], patch), -1, 0)
    per_object = [offset / np.maximum(coverage, 1e-6) for offset in offsets]
    side = patch // _POINTS_PER_PATCH
    pattern_yxp = _means(whole[..., 3:], side)[..., 0]
    rows = world.SIZE // patch
    points = pattern_yxp.reshape(rows, _POINTS_PER_PATCH, rows, _POINTS_PER_PATCH).transpose(0, 2, 1, 3)
    shown = np.concatenate([np.stack([coverage, *per_object], axis=-1), points.reshape(rows, rows, -1)], axis=-1)
    return shown.reshape(rows**2, -1).astype(np.float32)


def _means(picture_yxc: Floats, side: int) -> Floats:
    """Means over squares of `side` pixels: [Y, X, C] -> [Y/side, X/side, C]."""
    rows = len(picture_yxc) // side
    return picture_yxc.reshape(rows, side, rows, side, -1).mean(axis=(1, 3))
