"""What an image encoder's embedding of an anchor frame tells of its scene, as far as linear probes can read it.

APM gives the embedding, and nothing else of the anchor frame, to the video model: what is not in it cannot be kept.
Probes are fitted on frame 0 of scenes of the training split and tested on held-out scenes, all of one object.

Shapes: N pictures, D embedding width, J pixels of a surface.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from core.model.evaluation.metrics.linear_probe import Floats, Labels, LinearProbe, correlations, right_classes
from core.model.evaluation.reports.summary import Row, row_of
from core.model.networks.encoders import ImageEncoder
from core.model.training.sprites import world
from core.model.training.sprites.encoding import frames_to_tensor
from core.model.training.sprites.rendering import render, surface
from core.model.training.sprites.scene_sampling import sample_scene

_SEED = 2026
_BATCH = 256
_REACH = 6
"""The surface is read up to so many pixels from the centre, each way: every shape of a single object covers that."""
_SPACING = 2
"""Pixels between its points."""

CLASSES: dict[str, Callable[[world.Scene], int]] = {
    "colour": lambda scene: tuple(world.COLOURS).index(scene.sprites[0].colour),
    "background": lambda scene: world.BACKGROUNDS.index(scene.background),
    "shape": lambda scene: world.SHAPES.index(scene.sprites[0].shape),
    "texture: which of three": lambda scene: world.TEXTURES.index(scene.sprites[0].texture),
    "texture: phase in the first or second half": lambda scene: int(math.sin(scene.sprites[0].texture_phase) > 0),
}
SURFACE = "texture: surface pattern (correlation)"


@dataclass(frozen=True)
class Probed:
    """How well one property is read from held-out scenes."""

    row: Row
    chance: float
    """The same figure without the embedding: always the commonest class, or the mean surface."""

    @property
    def is_read(self) -> bool:
        """Whether the interval is above chance."""
        return self.row.low > self.chance


def probe(encode: ImageEncoder, fitted: int, tested: int) -> list[Probed]:
    """All properties; `fitted` and `tested` are numbers of scenes."""
    fit_scenes, test_scenes = _scenes("train", fitted), _scenes("held_out", tested)
    fit_ND, test_ND = embed(encode, fit_scenes), embed(encode, test_scenes)
    probed: list[Probed] = []
    for name, class_of in CLASSES.items():
        labels = [_labels(class_of, scenes) for scenes in (fit_scenes, test_scenes)]
        right_N = right_classes(fit_ND, labels[0], test_ND, labels[1])
        commonest = np.bincount(labels[0]).argmax()
        probed.append(Probed(row_of(name, right_N.tolist()), float((labels[1] == commonest).mean())))
    fit_NJ, test_NJ = surfaces(fit_scenes), surfaces(test_scenes)
    read_N = correlations(LinearProbe.fit(fit_ND, fit_NJ)(test_ND), test_NJ)
    mean_NJ = np.broadcast_to(fit_NJ.mean(axis=0), test_NJ.shape)
    return [*probed, Probed(row_of(SURFACE, read_N.tolist()), float(correlations(mean_NJ, test_NJ).mean()))]


@torch.inference_mode()
def embed(encode: ImageEncoder, scenes: Sequence[world.Scene]) -> Floats:
    """Embeddings of the scenes' first frames [N, D]."""
    parts: list[Floats] = []
    for first in range(0, len(scenes), _BATCH):
        frames = np.concatenate([render(scene, 1) for scene in scenes[first : first + _BATCH]])
        parts.append(encode(frames_to_tensor(frames)).double().cpu().numpy())
    return np.concatenate(parts)


def surfaces(scenes: Sequence[world.Scene]) -> Floats:
    """The surface pattern of each scene's object around its centre, without its colour [N, J], in [-1, 1]."""
    points = (np.arange(2 * _REACH // _SPACING, dtype=np.float32) + 0.5) * _SPACING - _REACH
    dx, dy = np.meshgrid(points, points)
    return np.stack([surface(scene.sprites[0], dx, dy).ravel() for scene in scenes]).astype(np.float64)


def _scenes(split: world.Split, count: int) -> list[world.Scene]:
    """Scenes of one object."""
    return [sample_scene(np.random.default_rng((_SEED, index)), split, two_sprites_share=0.0) for index in range(count)]


def _labels(class_of: Callable[[world.Scene], int], scenes: Sequence[world.Scene]) -> Labels:
    return np.array([class_of(scene) for scene in scenes], np.int64)
