"""How like two clips of the sprites world are, frame by frame: objects, outlines, places and background.

Pure functions of frames. Shapes: T frames, H, W pixel rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.model.evaluation.metrics.frame_reader import (
    DetectedObject,
    FrameHWC,
    Mask,
    colour_masks,
    read_frame,
)
from core.model.training.sprites import world
from core.service.domain.engine import FramesTHWC


@dataclass(frozen=True)
class Likeness:
    """One clip against what it should show. Shares are of frames, in [0, 1]."""

    colours: float
    """Frames with objects of the right colours, and no others."""
    shapes: float
    """Frames whose objects have the right shapes, too."""
    overlap: float
    """Intersection over union of the pixels of each colour, mean over frames."""
    distance: float | None
    """Median distance between an object and where it should be, pixels; None if no object has a right colour."""
    background: float
    """Mean absolute difference of pixels that neither shows as objects, in levels of 255."""


def likeness(wanted_thwc: FramesTHWC, made_thwc: FramesTHWC) -> Likeness:
    """All figures of a clip; both have the same length."""
    pairs = list(zip(wanted_thwc, made_thwc, strict=True))
    objects = [(read_frame(wanted), read_frame(made)) for wanted, made in pairs]
    distances = [distance for wanted, made in objects for distance in _distances(wanted, made)]
    return Likeness(
        colours=float(np.mean([_colours(wanted) == _colours(made) for wanted, made in objects])),
        shapes=float(np.mean([_things(wanted) == _things(made) for wanted, made in objects])),
        overlap=float(np.mean([_overlap(colour_masks(wanted), colour_masks(made)) for wanted, made in pairs])),
        distance=float(np.median(distances)) if distances else None,
        background=float(np.mean([_background(wanted, made) for wanted, made in pairs])),
    )


def _colours(objects: Sequence[DetectedObject]) -> list[str]:
    return sorted(found.colour for found in objects)


def _things(objects: Sequence[DetectedObject]) -> list[tuple[str, str]]:
    return sorted((found.colour, found.shape) for found in objects)


def _overlap(wanted: Mask, made: Mask) -> float:
    return float((wanted & made).sum() / max(1, (wanted | made).sum()))


def _distances(wanted: Sequence[DetectedObject], made: Sequence[DetectedObject]) -> list[float]:
    """Of each wanted object to the largest one made in its colour, the shortest on the torus."""
    largest = {found.colour: found for found in reversed(made)}
    pairs = [(one, largest[one.colour]) for one in wanted if one.colour in largest]
    offsets = [np.array((one.x - other.x, one.y - other.y)) for one, other in pairs]
    return [float(np.linalg.norm((offset + world.SIZE / 2) % world.SIZE - world.SIZE / 2)) for offset in offsets]


def _background(wanted: FrameHWC, made: FrameHWC) -> float:
    free = ~(colour_masks(wanted).any(axis=0) | colour_masks(made).any(axis=0))
    return float(np.abs(wanted.astype(np.int16) - made)[free].mean()) if free.any() else 0.0
