"""Read frames of the sprites world by arithmetic: which objects, of what colour and shape, where, moving how.

No network: colours are told apart by hue, shapes by how well a silhouette of the same area covers them, motions by
which of the world's own paths fits best. Knows the world; knows no model that made the frames.

Shapes: T frames, H, W pixel rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from core.model.training import sprites

Frames = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Steps = npt.NDArray[np.float64]

_COLOURFUL = 55
"""Least difference between a pixel's strongest and weakest channel; backgrounds are grey (0), paint is above 100."""
_LEAST_AREA = 60
"""Pixels; the smallest sprite of the world covers 190. Less is a speck."""
_AREA_PER_SQUARED_RADIUS = {"circle": np.pi, "square": 3.24, "triangle": 2.694}
_CENTRE_SEARCH = np.linspace(-2.5, 2.5, 6)
_PHASES = np.linspace(0, 2 * np.pi, 24, endpoint=False)


@dataclass(frozen=True)
class Seen:
    """One object in one frame: its middle of mass in pixels (on the torus), and what it is."""

    colour: str
    shape: str
    x: float
    y: float
    area: int


def read_frame(frame: Frames) -> tuple[Seen, ...]:
    """Every object in a frame [H, W, 3], largest first."""
    found = [
        _seen(colour, part)
        for colour, mask in zip(sprites.COLOURS, colour_masks(frame), strict=True)
        for part in connected_parts(mask)
        if part.sum() >= _LEAST_AREA
    ]
    return tuple(sorted(found, key=lambda seen: -seen.area))


def colour_masks(frame: Frames) -> npt.NDArray[np.bool_]:
    """Pixels of each colour of the world [colours, H, W]: those colourful enough, by the nearest hue."""
    pixels = frame.astype(np.float64)
    colourful = pixels.max(axis=2) - pixels.min(axis=2) > _COLOURFUL
    paints = np.array(list(sprites.COLOURS.values()), np.float64)
    likeness = _hue_direction(pixels) @ _hue_direction(paints).T
    nearest = likeness.argmax(axis=2)
    return np.stack([colourful & (nearest == index) for index in range(len(paints))])


def _hue_direction(colours: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Colours without their brightness, of length 1 (0 for greys)."""
    chroma = colours - colours.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(chroma, axis=-1, keepdims=True)
    return chroma / np.maximum(length, 1e-9)


def connected_parts(mask: Mask) -> list[Mask]:
    """Parts of a mask that touch (sides, on the torus): its labels spread until nothing changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = labels
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            spread = np.maximum(spread, np.where(mask, np.roll(spread, shift, axis), 0))
        if np.array_equal(spread, labels):
            break
        labels = spread
    return [labels == label for label in np.unique(labels[labels > 0])]


def centre(mask: Mask) -> tuple[float, float]:
    """Middle (x, y) of a mask on the torus, pixels."""
    rows, columns = np.nonzero(mask)
    return _circular_mean(columns), _circular_mean(rows)


def _circular_mean(places: npt.NDArray[np.int64]) -> float:
    turn = 2 * np.pi / sprites.SIZE
    return float(np.angle(np.exp(1j * turn * (places + 0.5)).mean()) / turn % sprites.SIZE)


def _seen(colour: str, part: Mask) -> Seen:
    x, y = centre(part)
    return Seen(colour, read_shape(part), x, y, int(part.sum()))


def read_shape(part: Mask) -> str:
    """The shape whose silhouette of the same area covers the mask best (intersection over union)."""
    x, y = centre(part)
    middle = sprites.SIZE // 2
    centred = np.roll(part, (middle - round(y), middle - round(x)), axis=(0, 1))
    area = int(part.sum())
    fits = {shape: max(_overlap(centred, s) for s in _silhouettes(shape, area)) for shape in sprites.SHAPES}
    return max(fits, key=lambda shape: fits[shape])


@cache
def _silhouettes(shape: str, area: int) -> tuple[Mask, ...]:
    """Ideal masks of a shape of this area, about the middle of the world."""
    radius = (area / _AREA_PER_SQUARED_RADIUS[shape]) ** 0.5
    middle = sprites.SIZE / 2
    return tuple(
        sprites.silhouette(shape, middle + dx, middle + dy, radius) for dx in _CENTRE_SEARCH for dy in _CENTRE_SEARCH
    )


def _overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


def steps_of(track: Sequence[tuple[float, float]]) -> Steps:
    """Displacements [T-1, 2] (x, y) of a track of places, the shortest way on the torus."""
    return (np.diff(np.array(track), axis=0) + sprites.SIZE / 2) % sprites.SIZE - sprites.SIZE / 2


def read_path(steps: Steps) -> tuple[str, str]:
    """The motion and the pace of the world whose displacements are nearest to these, at any phase.

    What stands still has the pace "normal", as the world says.
    """
    errors = {
        (motion, pace): float(((_paths(motion, pace, len(steps)) - steps) ** 2).sum(axis=(1, 2)).min())
        for motion in sprites.MOTIONS
        for pace in (sprites.PACES if motion != "standing" else ("normal",))
    }
    return min(errors, key=lambda path: errors[path])


@cache
def _paths(motion: str, pace: str, num_steps: int) -> Steps:
    """Displacements that a sprite with this motion and pace can make, [phases, num_steps, 2]."""
    speed = 0.0 if motion == "standing" else sprites.PACES[pace]
    phases = _PHASES if motion in ("circling", "bouncing") else (0.0,)
    return np.stack(
        [
            steps_of([sprites.place_on_path(motion, speed, float(phase), f) for f in range(num_steps + 1)])
            for phase in phases
        ]
    )
