"""Random scenes of the synthetic world. The same generator state always gives the same scene."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from core.model.training.sprites.world import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    PACES,
    SHAPES,
    SIZE,
    TEXTURES,
    TWO_SPRITES_SHARE,
    Scene,
    Split,
    Sprite,
    is_held_out,
)

_MIDDLE = SIZE / 2
_CROSSING_FRAME = 8
"""When a straight mover is in the middle: the first 16 frames show it come and go."""
_GROUND = 45.0
"""Lowest y of a bouncing sprite's centre, pixels."""
_LANES = (SIZE / 4, 3 * SIZE / 4)


def sample_scene(
    rng: np.random.Generator, split: Split = "train", two_sprites_share: float = TWO_SPRITES_SHARE
) -> Scene:
    """Draw a scene from the split; all randomness comes from `rng`. Held out: a scene with a held-out combination."""
    while True:
        scene = _draw(rng, two_sprites_share)
        if any(is_held_out(sprite, scene.background) for sprite in scene.sprites) == (split == "held_out"):
            return scene


def _draw(rng: np.random.Generator, two_sprites_share: float) -> Scene:
    background = _choice(rng, BACKGROUNDS)
    if rng.random() < two_sprites_share:
        return Scene(background, _draw_two(rng))
    return Scene(background, (_draw_one(rng),))


def _draw_one(rng: np.random.Generator) -> Sprite:
    """A sprite near the middle. Where it starts depends on motion and pace, so a plain caption determines it."""
    motion = _choice(rng, MOTIONS)
    sprite = _draw_appearance(rng, motion, float(rng.uniform(13.0, 14.5)))
    if motion in DIRECTIONS:
        across = float(rng.uniform(-4, 4))
        step_x, step_y = DIRECTIONS[motion]
        return _at_start(rng, replace(sprite, x=_MIDDLE - step_y * across, y=_MIDDLE + step_x * across))
    x, y = (_MIDDLE + float(rng.uniform(-3, 3)) for _ in range(2))
    if motion == "circling":
        return replace(sprite, x=x, y=y, phase=-math.pi / 2 + float(rng.uniform(-0.2, 0.2)))
    if motion == "bouncing":
        return replace(sprite, x=x, y=_GROUND, phase=float(rng.uniform(0, 0.2)))
    return replace(sprite, x=x, y=y)


def _draw_two(rng: np.random.Generator) -> tuple[Sprite, Sprite]:
    """Two smaller sprites of different colours, each in its own lane: rows that move sideways, or columns.

    The upper or left one comes first: the order in which a caption names them says which is where.
    """
    in_rows = rng.random() < 0.5
    motions = ("left", "right", "standing") if in_rows else ("up", "down", "standing")
    colours = rng.permutation(tuple(COLOURS))[:2]
    placed: list[tuple[float, Sprite]] = []
    for lane, colour in zip(rng.permutation(_LANES), colours, strict=True):
        motion = _choice(rng, motions)
        across, along = float(lane + rng.uniform(-1.5, 1.5)), _MIDDLE + float(rng.uniform(-2, 2))
        sprite = _draw_appearance(rng, motion, float(rng.uniform(10.0, 11.0)))
        crossing = replace(sprite, colour=str(colour), x=across, y=along)
        placed.append((across, _at_start(rng, _transposed(crossing) if in_rows else crossing)))
    first, second = (sprite for _, sprite in sorted(placed, key=lambda lane_and_sprite: lane_and_sprite[0]))
    if not in_rows and first.motion == second.motion == "standing":
        # Two standing sprites are always in a row: captions do not distinguish columns from rows.
        return _transposed(first), _transposed(second)
    return first, second


def _transposed(sprite: Sprite) -> Sprite:
    """The sprite with x and y swapped: from a column to a row."""
    return replace(sprite, x=sprite.y, y=sprite.x)


def _draw_appearance(rng: np.random.Generator, motion: str, radius: float) -> Sprite:
    """A sprite at the origin."""
    pace = "normal" if motion == "standing" else _choice(rng, tuple(PACES))
    return Sprite(
        shape=_choice(rng, SHAPES),
        colour=_choice(rng, tuple(COLOURS)),
        motion=motion,
        pace=pace,
        radius=radius,
        speed=0.0 if motion == "standing" else PACES[pace] * float(rng.uniform(0.93, 1.07)),
        x=0.0,
        y=0.0,
        phase=0.0,
        texture=_choice(rng, TEXTURES),
        texture_angle=float(rng.uniform(0, math.pi)),
        texture_phase=float(rng.uniform(0, 2 * math.pi)),
    )


def _at_start(rng: np.random.Generator, crossing: Sprite) -> Sprite:
    """The sprite at frame 0. `crossing` is the same sprite where it crosses the middle."""
    step_x, step_y = DIRECTIONS.get(crossing.motion, (0.0, 0.0))
    distance = crossing.speed * _CROSSING_FRAME + float(rng.uniform(-1.5, 1.5))
    return replace(crossing, x=(crossing.x - step_x * distance) % SIZE, y=(crossing.y - step_y * distance) % SIZE)


def _choice(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]
