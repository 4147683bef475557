"""The synthetic world of the `sprites` preset: one or two textured shapes moving over a patterned background.

Constants and data types only. Scenes are drawn by scene_sampling.py, moved by motion.py, rendered by rendering.py and
described by captions.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

SIZE = 64
"""Height and width of the world in pixels. Positions wrap around (a torus), so motion never has to end."""

FPS = 8

WORLD_VERSION = 2
"""Raise it when the frames of a seed change: cached latents of older versions are then encoded again."""

SHAPES = ("circle", "square", "triangle")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 35),
    "green": (40, 200, 60),
    "blue": (45, 75, 240),
    "yellow": (245, 215, 40),
}
SIMILAR_COLOURS = (frozenset({"red", "yellow"}), frozenset({"green", "blue"}))
"""Colours whose latents are close together (docs/training-log.md)."""
DIAGONAL = math.sqrt(0.5)
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up left": (-DIAGONAL, -DIAGONAL),
    "up right": (DIAGONAL, -DIAGONAL),
    "down left": (-DIAGONAL, DIAGONAL),
    "down right": (DIAGONAL, DIAGONAL),
}
"""Straight motions: name -> unit step (x, y); y grows downwards."""
MOTIONS = (*DIRECTIONS, "circling", "bouncing", "standing")
PACES: dict[str, float] = {"slow": 1.3, "normal": 2.1, "quick": 3.1}
"""Name -> pixels per frame."""

BACKGROUNDS = ("plain", "striped", "dotted", "checkered")
TEXTURES = ("bands", "rings", "spots")
"""Never named in a caption: only the anchor frame shows it, so long-term memory has to keep it."""

TWO_SPRITES_SHARE = 0.3
"""Share of scenes with two sprites in evaluation; training may use more."""

Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class Sprite:
    """One object. Lengths in pixels, speed in pixels per frame (along its path), angles in radians.

    (x, y) is its position at frame 0: for a circling sprite the centre of its circle, for a bouncing one the lowest
    point. `phase` is the angle of a circling sprite on its circle (0 right, clockwise), or the phase of a bounce.
    """

    shape: str
    colour: str
    motion: str
    pace: str
    radius: float
    speed: float
    x: float
    y: float
    phase: float
    texture: str
    texture_angle: float
    texture_phase: float


@dataclass(frozen=True)
class Scene:
    """Everything that determines a clip. Later sprites are drawn over earlier ones."""

    background: str
    sprites: tuple[Sprite, ...]


def has_similar_colours(scene: Scene) -> bool:
    """Whether the scene shows two objects whose colours are close in latent space."""
    return frozenset(sprite.colour for sprite in scene.sprites) in SIMILAR_COLOURS


def is_held_out(sprite: Sprite, background: str) -> bool:
    """Whether this combination of shape, colour, motion and background is never trained on: about one in 16."""
    code = (
        SHAPES.index(sprite.shape) * 5
        + tuple(COLOURS).index(sprite.colour)
        + 3 * MOTIONS.index(sprite.motion)
        + 7 * BACKGROUNDS.index(background)
    )
    return code % 16 == 0
