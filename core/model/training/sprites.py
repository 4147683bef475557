"""The synthetic world behind the `sprites` preset: one or two textured shapes moving over a patterned background.

Draws scenes at random, renders them and knows the truth of every frame; captions.py puts a scene into words.
Pure numpy: it knows nothing of networks, latents or tokenizers. The same generator state always gives the same scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

SIZE = 64
"""Height and width of the world in pixels; positions wrap around (a torus), so motion never has to end."""

FPS = 8

WORLD_VERSION = 2
"""Raise it when a seed's pictures change: what was encoded of them is then encoded anew."""

SHAPES = ("circle", "square", "triangle")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 35),
    "green": (40, 200, 60),
    "blue": (45, 75, 240),
    "yellow": (245, 215, 40),
}
ALIKE = (frozenset({"red", "yellow"}), frozenset({"green", "blue"}))
"""Colours that the autoencoder's latents hardly tell apart (docs/training-log.md)."""
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
"""Never named in a caption: what the first frame shows of it is what long-term memory has to keep."""

TWO_SPRITES_SHARE = 0.3
"""Of the scenes asked for; training may see more of them."""
_OPPOSITES = {"left": "right", "right": "left", "up": "down", "down": "up"}
_MIDDLE = SIZE / 2
_CROSSING_FRAME = 8
"""When a straight mover is in the middle: the first 16 frames show it come and go."""
_ORBIT = 13.0
"""Radius of a circling sprite's path, pixels."""
_GROUND, _BOUNCE = 45.0, 27.0
"""Lowest place of a bouncing sprite's centre (y), and how far it rises, pixels."""
_FRAMES_PER_BOUNCE = 16
_LANES = (SIZE / 4, 3 * SIZE / 4)

Split = Literal["train", "held_out"]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sprite:
    """One object. Lengths in pixels, speed in pixels per frame (along its path), angles in radians.

    (x, y) is its place at frame 0; of a circling sprite the middle of its circle, of a bouncing one the lowest place.
    `phase` is where a circling sprite stands on its circle (0 right, clockwise), a bouncing one in its bounce.
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
    """Everything that decides a clip. A later sprite is drawn over an earlier one."""

    background: str
    sprites: tuple[Sprite, ...]


@dataclass(frozen=True)
class FrameTruth:
    """Where one sprite is in one frame: its centre in pixels, wrapped into [0, 64), and what it is."""

    x: float
    y: float
    colour: str
    shape: str


def has_alike_colours(scene: Scene) -> bool:
    """Whether the scene shows two objects whose colours are alike in the autoencoder's latents."""
    return frozenset(sprite.colour for sprite in scene.sprites) in ALIKE


def is_held_out(sprite: Sprite, background: str) -> bool:
    """Tell whether a combination of shape, colour, motion and background is kept from training: about one in 16."""
    code = (
        SHAPES.index(sprite.shape) * 5
        + tuple(COLOURS).index(sprite.colour)
        + 3 * MOTIONS.index(sprite.motion)
        + 7 * BACKGROUNDS.index(background)
    )
    return code % 16 == 0


def sample_scene(
    rng: np.random.Generator, split: Split = "train", two_sprites_share: float = TWO_SPRITES_SHARE
) -> Scene:
    """Draw a scene from the split; all randomness comes from `rng`. Held out: a scene with a held-out combination."""
    while True:
        scene = _draw(rng, two_sprites_share)
        if any(is_held_out(sprite, scene.background) for sprite in scene.sprites) == (split == "held_out"):
            return scene


def _draw(rng: np.random.Generator, two_sprites_share: float) -> Scene:
    background = _one_of(rng, BACKGROUNDS)
    if rng.random() < two_sprites_share:
        return Scene(background, _draw_two(rng))
    return Scene(background, (_draw_one(rng),))


def _draw_one(rng: np.random.Generator) -> Sprite:
    """A sprite in the middle of the world. Where it enters depends on its motion and pace: a plain caption tells."""
    motion = _one_of(rng, MOTIONS)
    sprite = _paint(rng, motion, float(rng.uniform(13.0, 14.5)))
    if motion in DIRECTIONS:
        across = float(rng.uniform(-4, 4))
        step_x, step_y = DIRECTIONS[motion]
        return _entering(rng, replace(sprite, x=_MIDDLE - step_y * across, y=_MIDDLE + step_x * across))
    x, y = (_MIDDLE + float(rng.uniform(-3, 3)) for _ in range(2))
    if motion == "circling":
        return replace(sprite, x=x, y=y, phase=-math.pi / 2 + float(rng.uniform(-0.2, 0.2)))
    if motion == "bouncing":
        return replace(sprite, x=x, y=_GROUND, phase=float(rng.uniform(0, 0.2)))
    return replace(sprite, x=x, y=y)


def _draw_two(rng: np.random.Generator) -> tuple[Sprite, Sprite]:
    """Two smaller sprites of different colours, each in a lane of its own: rows that move sideways, or columns.

    The upper one comes first, or the left one: the order in which a caption names them says which is where.
    """
    in_rows = rng.random() < 0.5
    motions = ("left", "right", "standing") if in_rows else ("up", "down", "standing")
    colours = rng.permutation(tuple(COLOURS))[:2]
    made: list[tuple[float, Sprite]] = []
    for lane, colour in zip(rng.permutation(_LANES), colours, strict=True):
        motion = _one_of(rng, motions)
        across, along = float(lane + rng.uniform(-1.5, 1.5)), _MIDDLE + float(rng.uniform(-2, 2))
        sprite = _paint(rng, motion, float(rng.uniform(10.0, 11.0)))
        crossing = replace(sprite, colour=str(colour), x=across, y=along)
        made.append((across, _entering(rng, _turned(crossing) if in_rows else crossing)))
    first, second = (sprite for _, sprite in sorted(made, key=lambda lane_and_sprite: lane_and_sprite[0]))
    if not in_rows and first.motion == second.motion == "standing":
        # No word would tell columns from rows.
        return _turned(first), _turned(second)
    return first, second


def _turned(sprite: Sprite) -> Sprite:
    """A column's sprite in a row."""
    return replace(sprite, x=sprite.y, y=sprite.x)


def _paint(rng: np.random.Generator, motion: str, radius: float) -> Sprite:
    """A sprite's looks; where it is comes later."""
    pace = "normal" if motion == "standing" else _one_of(rng, tuple(PACES))
    return Sprite(
        shape=_one_of(rng, SHAPES),
        colour=_one_of(rng, tuple(COLOURS)),
        motion=motion,
        pace=pace,
        radius=radius,
        speed=0.0 if motion == "standing" else PACES[pace] * float(rng.uniform(0.93, 1.07)),
        x=0.0,
        y=0.0,
        phase=0.0,
        texture=_one_of(rng, TEXTURES),
        texture_angle=float(rng.uniform(0, math.pi)),
        texture_phase=float(rng.uniform(0, 2 * math.pi)),
    )


def _entering(rng: np.random.Generator, crossing: Sprite) -> Sprite:
    """The sprite as it enters, where `crossing` is as it crosses the middle."""
    step_x, step_y = DIRECTIONS.get(crossing.motion, (0.0, 0.0))
    way = crossing.speed * _CROSSING_FRAME + float(rng.uniform(-1.5, 1.5))
    return replace(crossing, x=(crossing.x - step_x * way) % SIZE, y=(crossing.y - step_y * way) % SIZE)


def _one_of(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]


def later(scene: Scene, frame: int) -> Scene:
    """The scene as it goes on from `frame`: what was frame `frame` is now frame 0."""
    return replace(scene, sprites=tuple(_advanced(sprite, frame) for sprite in scene.sprites))


def _advanced(sprite: Sprite, frame: float) -> Sprite:
    """The sprite's own state at a frame."""
    if sprite.motion in DIRECTIONS:
        step_x, step_y = DIRECTIONS[sprite.motion]
        way = sprite.speed * frame
        return replace(sprite, x=(sprite.x + step_x * way) % SIZE, y=(sprite.y + step_y * way) % SIZE)
    return replace(sprite, phase=(sprite.phase + _turn(sprite) * frame) % (2 * math.pi))


def _turn(sprite: Sprite) -> float:
    """Radians of phase per frame."""
    if sprite.motion == "circling":
        return sprite.speed / _ORBIT
    if sprite.motion == "bouncing":
        return math.pi / _FRAMES_PER_BOUNCE * sprite.speed / PACES["normal"]
    return 0.0


def reversed_scene(scene: Scene, num_frames: int) -> Scene | None:
    """The scene whose first `num_frames` frames are this scene's backwards; None where it may not be trained on."""
    backwards = [_reversed(_advanced(sprite, num_frames - 1)) for sprite in scene.sprites]
    kept = tuple(sprite for sprite in backwards if sprite and not is_held_out(sprite, scene.background))
    return Scene(scene.background, kept) if len(kept) == len(backwards) else None


def _reversed(sprite: Sprite) -> Sprite | None:
    """The sprite running backwards from where it is; None for a circling one: none runs the other way round."""
    if sprite.motion in DIRECTIONS:
        return replace(sprite, motion=" ".join(_OPPOSITES[word] for word in sprite.motion.split()))
    if sprite.motion == "circling":
        return None
    # A bounce is the same backwards, from the mirrored phase.
    return replace(sprite, phase=-sprite.phase % (2 * math.pi))


def truth(scene: Scene, frame: int) -> tuple[FrameTruth, ...]:
    """Say where every sprite is at `frame` (any integer >= 0; the motion never ends)."""
    return tuple(_truth(_advanced(sprite, frame)) for sprite in scene.sprites)


def _truth(sprite: Sprite) -> FrameTruth:
    x, y = sprite.x, sprite.y
    if sprite.motion == "circling":
        x, y = x + _ORBIT * math.cos(sprite.phase), y + _ORBIT * math.sin(sprite.phase)
    elif sprite.motion == "bouncing":
        y -= _BOUNCE * abs(math.sin(sprite.phase))
    return FrameTruth(x % SIZE, y % SIZE, sprite.colour, sprite.shape)


def place_on_path(motion: str, speed: float, phase: float, frame: int) -> tuple[float, float]:
    """Where a sprite that moves so is at a frame, from the origin on."""
    sprite = Sprite("circle", "red", motion, "normal", 0.0, speed, 0.0, 0.0, phase, "bands", 0.0, 0.0)
    place = _truth(_advanced(sprite, frame))
    return place.x, place.y


def silhouette(shape: str, x: float, y: float, radius: float) -> npt.NDArray[np.bool_]:
    """Pixels [64, 64] that a shape covers by more than half."""
    return _distance(shape, *_offsets(x, y), radius) < 0


def render(scene: Scene, num_frames: int, first_frame: int = 0, *, scale: int = 1) -> Pixels:
    """Draw frames [first_frame, first_frame + num_frames) as uint8 RGB [T, 64 scale, 64 scale, 3].

    `scale` draws the same scene with so many times the pixels each way: outlines get as much sharper.
    """
    ground = background(scene.background, scale)
    frames = np.empty((num_frames, SIZE * scale, SIZE * scale, 3), np.uint8)
    for index in range(num_frames):
        frame = ground
        for sprite, place in zip(scene.sprites, truth(scene, first_frame + index), strict=True):
            frame = _drawn_over(frame, sprite, place, scale)
        frames[index] = np.round(frame).astype(np.uint8)
    return frames


def _drawn_over(frame: Floats, sprite: Sprite, place: FrameTruth, scale: int) -> Floats:
    """The frame with the sprite on it; its outline is one drawn pixel soft."""
    dx, dy = _offsets(place.x, place.y, scale)
    cover = np.clip(0.5 - _distance(sprite.shape, dx, dy, sprite.radius) * scale, 0.0, 1.0)[..., None]
    paint = np.asarray(COLOURS[sprite.colour], np.float32) * _texture(sprite, dx, dy)[..., None]
    return (frame * (1 - cover) + paint * cover).astype(np.float32)


def background(name: str, scale: int = 1) -> Floats:
    """Draw a background as float RGB [64 scale, 64 scale, 3] in 0..255; patterns tile the torus without a seam."""
    x, y = np.meshgrid(_pixel_centres(scale), _pixel_centres(scale))
    if name == "striped":
        mask = _smooth_square(x + y, 32.0, scale)
    elif name == "dotted":
        centre_distance = np.hypot((x % 16) - 8, (y % 16) - 8)
        mask = np.clip(0.5 - (centre_distance - 4.5) * scale, 0, 1)
    elif name == "checkered":
        mask = ((x // 16 + y // 16) % 2).astype(np.float32)
    else:
        mask = np.full_like(x, 0.35)
    grey = 60.0 + 85.0 * mask
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def _smooth_square(distance: Floats, period: float, scale: int) -> Floats:
    return np.clip(0.5 + 2.5 * scale * np.sin(2 * math.pi * distance / period), 0, 1).astype(np.float32)


def _pixel_centres(scale: int) -> Floats:
    """Where drawn pixels lie along one side, in world pixels [64 scale]."""
    return ((np.arange(SIZE * scale, dtype=np.float32) + 0.5) / scale).astype(np.float32)


def _offsets(x: float, y: float, scale: int = 1) -> tuple[Floats, Floats]:
    """Shortest way on the torus from the object's centre to every pixel centre, in world pixels, for each pixel."""
    grid = _pixel_centres(scale)
    dx = (grid - x + SIZE / 2) % SIZE - SIZE / 2
    dy = (grid - y + SIZE / 2) % SIZE - SIZE / 2
    wide, tall = np.meshgrid(dx, dy)
    return wide.astype(np.float32), tall.astype(np.float32)


def _distance(shape: str, dx: Floats, dy: Floats, radius: float) -> Floats:
    """Signed distance to the outline in pixels, negative inside; the shapes have about the same area."""
    if shape == "circle":
        return (np.hypot(dx, dy) - radius).astype(np.float32)
    if shape == "square":
        return (np.maximum(np.abs(dx), np.abs(dy)) - 0.9 * radius).astype(np.float32)
    # Upright and equilateral: a level edge below, two edges meeting at the top.
    lower = dy - 0.72 * radius
    slanted = np.abs(dx) * math.cos(math.pi / 6) - dy * math.sin(math.pi / 6) - 0.72 * radius
    return np.maximum(lower, slanted).astype(np.float32)


def _texture(sprite: Sprite, dx: Floats, dy: Floats) -> Floats:
    """Brightness of the paint in [0.76, 1], a pattern that travels with the object, for each pixel."""
    along = dx * math.cos(sprite.texture_angle) + dy * math.sin(sprite.texture_angle)
    across = dy * math.cos(sprite.texture_angle) - dx * math.sin(sprite.texture_angle)
    if sprite.texture == "bands":
        wave = np.sin(2 * math.pi * along / 17.0 + sprite.texture_phase)
    elif sprite.texture == "rings":
        wave = np.sin(2 * math.pi * np.hypot(dx, dy) / 15.0 + sprite.texture_phase)
    else:
        wave = np.sin(2 * math.pi * along / 20.0 + sprite.texture_phase) * np.sin(2 * math.pi * across / 20.0) * 1.3
    return (0.88 + 0.12 * np.clip(1.6 * wave, -1, 1)).astype(np.float32)
