"""Draw scenes of the synthetic world with numpy: anti-aliased shapes with textures over patterned backgrounds."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from core.model.training.sprites.motion import SpritePosition, sprite_positions
from core.model.training.sprites.world import COLOURS, SIZE, Scene, Sprite
from core.service.domain.engine import FramesTHWC

Floats = npt.NDArray[np.float32]

CONTRAST = 0.12
"""Of surface patterns: they make a sprite's colour up to a quarter darker."""


def render(
    scene: Scene, num_frames: int, first_frame: int = 0, *, scale: int = 1, contrast: float = CONTRAST
) -> FramesTHWC:
    """Draw frames [first_frame, first_frame + num_frames) as uint8 RGB [T, 64 scale, 64 scale, 3].

    `scale` multiplies the pixels each way; outlines get sharper accordingly. `contrast`: of surface patterns, 0 to 0.5.
    """
    ground = render_background(scene.background, scale)
    frames = np.empty((num_frames, SIZE * scale, SIZE * scale, 3), np.uint8)
    for index in range(num_frames):
        frame = ground
        for sprite, position in zip(scene.sprites, sprite_positions(scene, first_frame + index), strict=True):
            frame = _draw_over(frame, sprite, position, scale, contrast)
        frames[index] = np.round(frame).astype(np.uint8)
    return frames


def _draw_over(frame: Floats, sprite: Sprite, position: SpritePosition, scale: int, contrast: float) -> Floats:
    """The frame with the sprite on it; its outline is blurred over one drawn pixel."""
    dx, dy = offsets_from(position.x, position.y, scale)
    coverage = np.clip(0.5 - _signed_distance(sprite.shape, dx, dy, sprite.radius) * scale, 0.0, 1.0)[..., None]
    brightness = 1 - contrast + contrast * surface(sprite, dx, dy)
    paint = np.asarray(COLOURS[sprite.colour], np.float32) * brightness[..., None]
    return (frame * (1 - coverage) + paint * coverage).astype(np.float32)


def silhouette(shape: str, x: float, y: float, radius: float) -> npt.NDArray[np.bool_]:
    """Pixels [64, 64] of which a shape covers more than half."""
    return _signed_distance(shape, *offsets_from(x, y), radius) < 0


def render_background(name: str, scale: int = 1) -> Floats:
    """Draw a background as float RGB [64 scale, 64 scale, 3] in 0..255; patterns tile the torus without a seam."""
    x, y = np.meshgrid(_pixel_centres(scale), _pixel_centres(scale))
    if name == "striped":
        mask = _smooth_square_wave(x + y, 32.0, scale)
    elif name == "dotted":
        centre_distance = np.hypot((x % 16) - 8, (y % 16) - 8)
        mask = np.clip(0.5 - (centre_distance - 4.5) * scale, 0, 1)
    elif name == "checkered":
        mask = ((x // 16 + y // 16) % 2).astype(np.float32)
    else:
        mask = np.full_like(x, 0.35)
    grey = 60.0 + 85.0 * mask
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def _smooth_square_wave(distance: Floats, period: float, scale: int) -> Floats:
    return np.clip(0.5 + 2.5 * scale * np.sin(2 * math.pi * distance / period), 0, 1).astype(np.float32)


def _pixel_centres(scale: int) -> Floats:
    """Centres of the drawn pixels along one side, in world pixels [64 scale]."""
    return ((np.arange(SIZE * scale, dtype=np.float32) + 0.5) / scale).astype(np.float32)


def offsets_from(x: float, y: float, scale: int = 1) -> tuple[Floats, Floats]:
    """Shortest offsets (dx, dy) on the torus from (x, y) to all pixel centres [64 scale, 64 scale], in world pixels."""
    grid = _pixel_centres(scale)
    dx = (grid - x + SIZE / 2) % SIZE - SIZE / 2
    dy = (grid - y + SIZE / 2) % SIZE - SIZE / 2
    wide, tall = np.meshgrid(dx, dy)
    return wide.astype(np.float32), tall.astype(np.float32)


def _signed_distance(shape: str, dx: Floats, dy: Floats, radius: float) -> Floats:
    """Signed distance to the outline in pixels, negative inside. All shapes have about the same area."""
    if shape == "circle":
        return (np.hypot(dx, dy) - radius).astype(np.float32)
    if shape == "square":
        return (np.maximum(np.abs(dx), np.abs(dy)) - 0.9 * radius).astype(np.float32)
    # Equilateral: a horizontal edge below, two edges meeting at the top.
    lower = dy - 0.72 * radius
    slanted = np.abs(dx) * math.cos(math.pi / 6) - dy * math.sin(math.pi / 6) - 0.72 * radius
    return np.maximum(lower, slanted).astype(np.float32)


def surface(sprite: Sprite, dx: Floats, dy: Floats) -> Floats:
    """A sprite's surface pattern in [-1, 1] at offsets of any shape from its centre, in pixels."""
    along = dx * math.cos(sprite.texture_angle) + dy * math.sin(sprite.texture_angle)
    across = dy * math.cos(sprite.texture_angle) - dx * math.sin(sprite.texture_angle)
    if sprite.texture == "bands":
        wave = np.sin(2 * math.pi * along / 17.0 + sprite.texture_phase)
    elif sprite.texture == "rings":
        wave = np.sin(2 * math.pi * np.hypot(dx, dy) / 15.0 + sprite.texture_phase)
    else:
        wave = np.sin(2 * math.pi * along / 20.0 + sprite.texture_phase) * np.sin(2 * math.pi * across / 20.0) * 1.3
    return np.clip(1.6 * wave, -1, 1).astype(np.float32)
