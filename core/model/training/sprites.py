"""The synthetic world behind the `sprites` preset: one textured shape moving over a patterned background.

Renders clips, writes their captions and knows the truth of every frame. Pure numpy: it knows nothing of
networks, latents or tokenizers. The same generator state always gives the same scene.
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

SHAPES = ("circle", "square", "triangle")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 35),
    "green": (40, 200, 60),
    "blue": (45, 75, 240),
    "yellow": (245, 215, 40),
}
MOTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""Name -> unit step (x, y) in pixels; y grows downwards."""

BACKGROUNDS = ("plain", "striped", "dotted", "checkered")
TEXTURES = ("bands", "rings", "spots")
"""Never named in a caption: what the first frame shows of it is what long-term memory has to keep."""

TEMPLATES = (
    "a {colour} {shape} moving {motion} over a {background} background",
    "a {colour} {shape} moves {motion} over a {background} background",
    "{colour} {shape} moving {motion}, {background} background",
    "a {background} background with a {colour} {shape} moving {motion}",
)

LATER = "still"
"""The word that marks a clip which does not begin at frame 0."""

Split = Literal["train", "held_out"]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """Everything that decides a clip. Lengths in pixels, speed in pixels per frame, angles in radians."""

    shape: str
    colour: str
    motion: str
    background: str
    radius: float
    speed: float
    start_x: float
    start_y: float
    texture: str
    texture_angle: float
    texture_phase: float


@dataclass(frozen=True)
class FrameTruth:
    """What one frame shows: the object's centre in pixels (wrapped into [0, 64)), its colour and its shape."""

    x: float
    y: float
    colour: str
    shape: str


def is_held_out(shape: str, colour: str, motion: str, background: str) -> bool:
    """Tell whether a combination is kept from training: 12 of the 192, every single word still seen often."""
    code = (
        SHAPES.index(shape) * 5
        + tuple(COLOURS).index(colour)
        + 3 * tuple(MOTIONS).index(motion)
        + 7 * BACKGROUNDS.index(background)
    )
    return code % 16 == 0


ENTRY = 18.0
"""How far from the middle, against its motion, an object stands in frame 0: the first 16 frames show it cross."""


def sample_scene(rng: np.random.Generator, split: Split = "train") -> Scene:
    """Draw a scene from the split; all randomness comes from `rng`."""
    while True:
        scene = _draw(rng)
        if is_held_out(scene.shape, scene.colour, scene.motion, scene.background) == (split == "held_out"):
            return scene


def _draw(rng: np.random.Generator) -> Scene:
    motion = tuple(MOTIONS)[int(rng.integers(len(MOTIONS)))]
    step_x, step_y = MOTIONS[motion]
    along, across = float(rng.uniform(ENTRY - 1.5, ENTRY + 1.5)), float(rng.uniform(-4, 4))
    return Scene(
        shape=SHAPES[int(rng.integers(len(SHAPES)))],
        colour=tuple(COLOURS)[int(rng.integers(len(COLOURS)))],
        motion=motion,
        background=BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))],
        radius=float(rng.uniform(13.5, 15.0)),
        speed=float(rng.uniform(1.9, 2.3)),
        start_x=SIZE / 2 - step_x * along + abs(step_y) * across,
        start_y=SIZE / 2 - step_y * along + abs(step_x) * across,
        texture=TEXTURES[int(rng.integers(len(TEXTURES)))],
        texture_angle=float(rng.uniform(0, math.pi)),
        texture_phase=float(rng.uniform(0, 2 * math.pi)),
    )


def later(scene: Scene, frame: int) -> Scene:
    """The scene as it goes on from `frame`: what was frame `frame` is now frame 0."""
    place = truth(scene, frame)
    return replace(scene, start_x=place.x, start_y=place.y)


def reversed_scene(scene: Scene, num_frames: int) -> Scene | None:
    """The scene whose first `num_frames` frames are this scene's backwards; None where it may not be trained on."""
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}[scene.motion]
    if is_held_out(scene.shape, scene.colour, opposite, scene.background):
        return None
    last = truth(scene, num_frames - 1)
    return replace(scene, motion=opposite, start_x=last.x, start_y=last.y)


def caption(scene: Scene, template: int = 0, *, from_the_start: bool = True) -> str:
    """Put the scene into plain English, worded as TEMPLATES[template]; texture, size and speed stay unsaid.

    A clip that begins somewhere in the middle "still moves": only a plain caption promises the entry of frame 0, and so
    says where the object is at any moment. That is what makes a motion word worth reading to a model that learns.
    """
    text = TEMPLATES[template].format(
        colour=scene.colour, shape=scene.shape, motion=scene.motion, background=scene.background
    )
    return text if from_the_start else text.replace("mov", f"{LATER} mov")


def truth(scene: Scene, frame: int) -> FrameTruth:
    """Say where the object is at `frame` (any integer >= 0; the motion never ends)."""
    step_x, step_y = MOTIONS[scene.motion]
    return FrameTruth(
        x=(scene.start_x + step_x * scene.speed * frame) % SIZE,
        y=(scene.start_y + step_y * scene.speed * frame) % SIZE,
        colour=scene.colour,
        shape=scene.shape,
    )


def render(scene: Scene, num_frames: int, first_frame: int = 0) -> Pixels:
    """Draw frames [first_frame, first_frame + num_frames) as uint8 RGB [T, 64, 64, 3]."""
    ground = background(scene.background)
    frames = np.empty((num_frames, SIZE, SIZE, 3), np.uint8)
    for index in range(num_frames):
        place = truth(scene, first_frame + index)
        dx, dy = _offsets(place.x, place.y)
        cover = np.clip(0.5 - _distance(scene.shape, dx, dy, scene.radius), 0.0, 1.0)[..., None]
        paint = np.asarray(COLOURS[scene.colour], np.float32) * _texture(scene, dx, dy)[..., None]
        frames[index] = np.round(ground * (1 - cover) + paint * cover).astype(np.uint8)
    return frames


def background(name: str) -> Floats:
    """Draw a background as float RGB [64, 64, 3] in 0..255; patterns tile the torus without a seam."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5
    if name == "striped":
        mask = _smooth_square(x + y, 32.0)
    elif name == "dotted":
        centre_distance = np.hypot((x % 16) - 8, (y % 16) - 8)
        mask = np.clip(5.0 - centre_distance, 0, 1)
    elif name == "checkered":
        mask = ((x // 16 + y // 16) % 2).astype(np.float32)
    else:
        mask = np.full_like(x, 0.35)
    grey = 60.0 + 85.0 * mask
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def _smooth_square(distance: Floats, period: float) -> Floats:
    return np.clip(0.5 + 2.5 * np.sin(2 * math.pi * distance / period), 0, 1).astype(np.float32)


def _offsets(x: float, y: float) -> tuple[Floats, Floats]:
    """Shortest way on the torus from the object's centre to every pixel centre, [64, 64] each."""
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
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


def _texture(scene: Scene, dx: Floats, dy: Floats) -> Floats:
    """Brightness of the paint in [0.76, 1], a pattern that travels with the object, [64, 64]."""
    along = dx * math.cos(scene.texture_angle) + dy * math.sin(scene.texture_angle)
    across = dy * math.cos(scene.texture_angle) - dx * math.sin(scene.texture_angle)
    if scene.texture == "bands":
        wave = np.sin(2 * math.pi * along / 17.0 + scene.texture_phase)
    elif scene.texture == "rings":
        wave = np.sin(2 * math.pi * np.hypot(dx, dy) / 15.0 + scene.texture_phase)
    else:
        wave = np.sin(2 * math.pi * along / 20.0 + scene.texture_phase) * np.sin(2 * math.pi * across / 20.0) * 1.3
    return (0.88 + 0.12 * np.clip(1.6 * wave, -1, 1)).astype(np.float32)
