"""Detect the objects in frames of the sprites world by arithmetic: colour, shape, position and motion.

No network: colours are recognised by hue, shapes by the overlap with silhouettes of the same area, motions by the
best-fitting path of the world.

Shapes: T frames, H, W pixel rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from core.model.training.sprites import world
from core.model.training.sprites.motion import position_on_path
from core.model.training.sprites.rendering import silhouette

FrameHWC = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Steps = npt.NDArray[np.float64]

_MIN_CHROMA = 55
"""Minimum difference between a pixel's strongest and weakest channel; backgrounds have 0, sprites more than 100."""
_MIN_AREA = 60
"""Pixels. Smaller regions are ignored; the smallest sprite of the world covers 190."""
_AREA_PER_SQUARED_RADIUS = {"circle": np.pi, "square": 3.24, "triangle": 2.694}
_CENTRE_SEARCH = np.linspace(-2.5, 2.5, 6)
_PHASES = np.linspace(0, 2 * np.pi, 24, endpoint=False)


@dataclass(frozen=True)
class DetectedObject:
    """One object in one frame: its colour, shape, centre of mass in pixels (on the torus), and area in pixels."""

    colour: str
    shape: str
    x: float
    y: float
    area: int


def read_frame(frame: FrameHWC) -> tuple[DetectedObject, ...]:
    """Every object in a frame [H, W, 3], largest first."""
    objects = [
        _detected(colour, part)
        for colour, mask in zip(world.COLOURS, colour_masks(frame), strict=True)
        for part in connected_parts(mask)
        if part.sum() >= _MIN_AREA
    ]
    return tuple(sorted(objects, key=lambda found: -found.area))


def colour_masks(frame: FrameHWC) -> npt.NDArray[np.bool_]:
    """Pixels of each colour of the world [colours, H, W]: those with enough chroma, by nearest hue."""
    pixels = frame.astype(np.float64)
    colourful = pixels.max(axis=2) - pixels.min(axis=2) > _MIN_CHROMA
    paints = np.array(list(world.COLOURS.values()), np.float64)
    similarity = _hue_direction(pixels) @ _hue_direction(paints).T
    nearest = similarity.argmax(axis=2)
    return np.stack([colourful & (nearest == index) for index in range(len(paints))])


def _hue_direction(colours: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Colours without brightness as unit vectors (0 for greys)."""
    chroma = colours - colours.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(chroma, axis=-1, keepdims=True)
    return chroma / np.maximum(length, 1e-9)


def connected_parts(mask: Mask) -> list[Mask]:
    """4-connected components of a mask on the torus: labels spread until nothing changes."""
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
    """Centre of mass (x, y) of a mask on the torus, pixels."""
    rows, columns = np.nonzero(mask)
    return _circular_mean(columns), _circular_mean(rows)


def _circular_mean(positions: npt.NDArray[np.int64]) -> float:
    turn = 2 * np.pi / world.SIZE
    return float(np.angle(np.exp(1j * turn * (positions + 0.5)).mean()) / turn % world.SIZE)


def _detected(colour: str, part: Mask) -> DetectedObject:
    x, y = centre(part)
    return DetectedObject(colour, read_shape(part), x, y, int(part.sum()))


def read_shape(part: Mask) -> str:
    """The shape whose silhouette of the same area has the largest intersection over union with the mask."""
    x, y = centre(part)
    middle = world.SIZE // 2
    centred = np.roll(part, (middle - round(y), middle - round(x)), axis=(0, 1))
    area = int(part.sum())
    fits = {
        shape: max(_intersection_over_union(centred, s) for s in _silhouettes(shape, area)) for shape in world.SHAPES
    }
    return max(fits, key=lambda shape: fits[shape])


@cache
def _silhouettes(shape: str, area: int) -> tuple[Mask, ...]:
    """Silhouettes of a shape of this area at positions around the middle of the world."""
    radius = (area / _AREA_PER_SQUARED_RADIUS[shape]) ** 0.5
    middle = world.SIZE / 2
    return tuple(silhouette(shape, middle + dx, middle + dy, radius) for dx in _CENTRE_SEARCH for dy in _CENTRE_SEARCH)


def _intersection_over_union(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


def steps_of(track: Sequence[tuple[float, float]]) -> Steps:
    """Displacements (x, y) between successive positions, the shortest on the torus, [T-1, 2]."""
    return (np.diff(np.array(track), axis=0) + world.SIZE / 2) % world.SIZE - world.SIZE / 2


def read_path(steps: Steps) -> tuple[str, str]:
    """The motion and pace whose displacements are nearest to these, at any phase.

    Standing objects have the pace "normal".
    """
    errors = {
        (motion, pace): float(((_paths(motion, pace, len(steps)) - steps) ** 2).sum(axis=(1, 2)).min())
        for motion in world.MOTIONS
        for pace in (world.PACES if motion != "standing" else ("normal",))
    }
    return min(errors, key=lambda path: errors[path])


@cache
def _paths(motion: str, pace: str, num_steps: int) -> Steps:
    """Possible displacements of a sprite with this motion and pace, [phases, num_steps, 2]."""
    speed = 0.0 if motion == "standing" else world.PACES[pace]
    phases = _PHASES if motion in ("circling", "bouncing") else (0.0,)
    return np.stack(
        [steps_of([position_on_path(motion, speed, float(phase), f) for f in range(num_steps + 1)]) for phase in phases]
    )
