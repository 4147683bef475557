"""Where the sprites of a scene are at any frame, and scenes shifted or reversed in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from core.model.training.sprites.world import DIRECTIONS, PACES, SIZE, Scene, Sprite, is_held_out

_OPPOSITES = {"left": "right", "right": "left", "up": "down", "down": "up"}
_ORBIT = 13.0
"""Radius of a circling sprite's path, pixels."""
_BOUNCE = 27.0
"""How far a bouncing sprite rises, pixels."""
_FRAMES_PER_BOUNCE = 16


@dataclass(frozen=True)
class SpritePosition:
    """One sprite in one frame: its centre in pixels, wrapped into [0, 64), its colour and shape."""

    x: float
    y: float
    colour: str
    shape: str


def sprite_positions(scene: Scene, frame: int) -> tuple[SpritePosition, ...]:
    """Positions of all sprites at `frame` (any integer >= 0; the motion never ends)."""
    return tuple(_position(_advanced(sprite, frame)) for sprite in scene.sprites)


def _position(sprite: Sprite) -> SpritePosition:
    x, y = sprite.x, sprite.y
    if sprite.motion == "circling":
        x, y = x + _ORBIT * math.cos(sprite.phase), y + _ORBIT * math.sin(sprite.phase)
    elif sprite.motion == "bouncing":
        y -= _BOUNCE * abs(math.sin(sprite.phase))
    return SpritePosition(x % SIZE, y % SIZE, sprite.colour, sprite.shape)


def position_on_path(motion: str, speed: float, phase: float, frame: int) -> tuple[float, float]:
    """Position (x, y) at `frame` of a sprite with this motion that starts at the origin."""
    sprite = Sprite("circle", "red", motion, "normal", 0.0, speed, 0.0, 0.0, phase, "bands", 0.0, 0.0)
    position = _position(_advanced(sprite, frame))
    return position.x, position.y


def scene_from(scene: Scene, frame: int) -> Scene:
    """The same scene with `frame` as its frame 0."""
    return replace(scene, sprites=tuple(_advanced(sprite, frame) for sprite in scene.sprites))


def _advanced(sprite: Sprite, frame: float) -> Sprite:
    """The sprite with its position or phase at `frame`."""
    if sprite.motion in DIRECTIONS:
        step_x, step_y = DIRECTIONS[sprite.motion]
        distance = sprite.speed * frame
        return replace(sprite, x=(sprite.x + step_x * distance) % SIZE, y=(sprite.y + step_y * distance) % SIZE)
    return replace(sprite, phase=(sprite.phase + _phase_per_frame(sprite) * frame) % (2 * math.pi))


def _phase_per_frame(sprite: Sprite) -> float:
    """Radians."""
    if sprite.motion == "circling":
        return sprite.speed / _ORBIT
    if sprite.motion == "bouncing":
        return math.pi / _FRAMES_PER_BOUNCE * sprite.speed / PACES["normal"]
    return 0.0


def reversed_scene(scene: Scene, num_frames: int) -> Scene | None:
    """The scene whose first `num_frames` frames are this scene's in reverse order.

    None if no such scene exists, or if it is held out from training.
    """
    backwards = [_reversed(_advanced(sprite, num_frames - 1)) for sprite in scene.sprites]
    allowed = tuple(sprite for sprite in backwards if sprite and not is_held_out(sprite, scene.background))
    return Scene(scene.background, allowed) if len(allowed) == len(backwards) else None


def _reversed(sprite: Sprite) -> Sprite | None:
    """The sprite moving backwards from its position; None for a circling one: all circle clockwise."""
    if sprite.motion in DIRECTIONS:
        return replace(sprite, motion=" ".join(_OPPOSITES[word] for word in sprite.motion.split()))
    if sprite.motion == "circling":
        return None
    # A bounce is the same backwards, from the mirrored phase.
    return replace(sprite, phase=-sprite.phase % (2 * math.pi))
