"""Figures of one video of the sprites world: does it show what was asked, from the first chunk to the last?

Pure functions of frames and the scene they should show. Knows no engine, no file and no suite.

Shapes: T frames, H, W pixel rows and columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.model.evaluation.reader import Frames, Mask, Seen, Steps, colour_masks, read_frame, read_path, steps_of
from core.model.training import sprites

CHUNK = 16
WINDOW_STEP = 8
"""New frames of a window: after the first chunk something may break at every eighth frame."""
_CROP = 10
"""Half the side of the patch around an object's middle whose texture is compared, pixels."""
_MARGIN = 3
"""Pixels around objects that count as neither object nor background."""
_STEADY_MOTIONS = frozenset({*sprites.DIRECTIONS, "circling"})
_LEAST_STEP = 0.25
"""Pixels a frame below which nothing moves that a ratio could be taken of; the slowest sprite's are 1.2."""
_SEARCH = 2
"""A texture patch may lie this many pixels off and still be the same."""


@dataclass(frozen=True)
class VideoFigures:
    """One video. Shares are of frames, in [0, 1]; correlations in [-1, 1]; None where there is nothing to measure."""

    num_sprites: int
    """Objects asked for."""
    colour_right: bool
    """Colours of the prompt in most frames of the first chunk, and no others."""
    shape_right: bool
    motion_right: bool
    """Each object's path over the first chunk is nearest to the motion asked for."""
    pace_right: bool | None
    """The same of the paces of those that move; None for scenes that stand still."""
    right_objects_at_end: float
    """Share of the last chunk's frames with exactly the objects asked for."""
    background_kept: float
    """Likeness of the last chunk's background to the anchor's."""
    texture_kept: float | None
    """Likeness of the objects' surface in the last chunk to the anchor's."""
    motion_kept: float | None
    """Mean step of the last chunk over that of the first; None for scenes that stand still, and where
    the first chunk does already."""
    seam_ratio: float | None
    """Mean displacement across chunk borders over that inside chunks; of motions of constant speed only."""
    window_seam_ratio: float | None
    """The same of all borders between windows, every 8 frames after the first chunk."""


def measure(frames_thwc: Frames, scene: sprites.Scene) -> VideoFigures:
    """All figures of a video that should show `scene`."""
    seen = [read_frame(frame) for frame in frames_thwc]
    first, last = seen[:CHUNK], seen[-CHUNK:]
    asked = {sprite.colour: sprite.shape for sprite in scene.sprites}
    tracks = [(sprite, track_steps(seen, sprite.colour)) for sprite in scene.sprites]
    paths = [(sprite, *read_path(steps[: CHUNK - 1])) for sprite, steps in tracks]
    moving = [steps for sprite, steps in tracks if sprite.motion != "standing"]
    steady = [steps for sprite, steps in tracks if sprite.motion in _STEADY_MOTIONS and len(steps) >= CHUNK]
    return VideoFigures(
        num_sprites=len(scene.sprites),
        colour_right=_most(sorted(s.colour for s in objects) == sorted(asked) for objects in first),
        shape_right=_most(_shapes(objects, asked) for objects in first),
        motion_right=all(motion == sprite.motion for sprite, motion, _ in paths),
        pace_right=all(pace == sprite.pace for sprite, _, pace in paths) if moving else None,
        right_objects_at_end=float(np.mean([_exactly(objects, asked) for objects in last])),
        background_kept=float(np.mean([background_likeness(frames_thwc[0], frame) for frame in frames_thwc[-CHUNK:]])),
        texture_kept=_mean_texture(frames_thwc, seen, tuple(asked)),
        motion_kept=_mean_ratio([(s[-(CHUNK - 1) :], s[: CHUNK - 1]) for s in moving]),
        seam_ratio=_mean_ratio([_seams(s, CHUNK) for s in steady]),
        window_seam_ratio=_mean_ratio([_seams(s, WINDOW_STEP) for s in steady]),
    )


def _most(rights: Iterable[bool]) -> bool:
    """Whether more than half are right."""
    values = list(rights)
    return sum(values) * 2 > len(values)


def _shapes(objects: Sequence[Seen], asked: dict[str, str]) -> bool:
    """Each colour's largest object has the shape asked for."""
    largest = {seen.colour: seen.shape for seen in reversed(objects)}
    return all(largest.get(colour) == shape for colour, shape in asked.items())


def _exactly(objects: Sequence[Seen], asked: dict[str, str]) -> bool:
    return Counter((s.colour, s.shape) for s in objects) == Counter(asked.items())


def track_steps(seen: Sequence[Sequence[Seen]], colour: str) -> Steps:
    """Displacements [T-1, 2] of the largest object of a colour; where it is missing it stays where it was last."""
    place = (sprites.SIZE / 2, sprites.SIZE / 2)
    track: list[tuple[float, float]] = []
    for objects in seen:
        place = next(((s.x, s.y) for s in objects if s.colour == colour), place)
        track.append(place)
    return steps_of(track)


def background_likeness(anchor: Frames, frame: Frames) -> float:
    """How like two frames' backgrounds are where neither shows an object.

    Correlation of brightness; a plain background has no pattern to correlate, so there it is 1 minus the mean
    difference over the contrast of the world's patterns (85 of 255).
    """
    free = ~(_covered(anchor) | _covered(frame))
    first, second = anchor.mean(axis=2)[free], frame.mean(axis=2)[free]
    if len(first) == 0:
        return 0.0
    if first.std() < 8:
        return float(max(0.0, 1 - np.abs(first - second).mean() / 85))
    return _correlation(first, second)


def _covered(frame: Frames) -> Mask:
    """Pixels of objects and their surroundings."""
    mask: Mask = np.asarray(colour_masks(frame).any(axis=0))
    for _ in range(_MARGIN):
        mask = mask | np.roll(mask, 1, 0) | np.roll(mask, -1, 0) | np.roll(mask, 1, 1) | np.roll(mask, -1, 1)
    return mask


def _mean_texture(frames_thwc: Frames, seen: Sequence[Sequence[Seen]], colours: Sequence[str]) -> float | None:
    """Mean over objects and over every fourth frame of the last chunk; None where the anchor shows none of them."""
    likeness: list[float] = []
    for colour in colours:
        anchor = _patch(frames_thwc[0], seen[0], colour)
        if anchor is None:
            continue
        for index in range(len(seen) - CHUNK, len(seen), 4):
            likeness.append(_patch_likeness(anchor, frames_thwc[index], seen[index], colour))
    return float(np.mean(likeness)) if likeness else None


def _patch_likeness(anchor: npt.NDArray[np.float64], frame: Frames, objects: Sequence[Seen], colour: str) -> float:
    """Best correlation of the anchor's patch with the frame's around the object; 0 where the object is missing."""
    shifts = range(-_SEARCH, _SEARCH + 1)
    patches = (_patch(frame, objects, colour, (dx, dy)) for dx in shifts for dy in shifts)
    return max((_correlation(anchor.ravel(), patch.ravel()) for patch in patches if patch is not None), default=0.0)


def _patch(
    frame: Frames, objects: Sequence[Seen], colour: str, shift: tuple[int, int] = (0, 0)
) -> npt.NDArray[np.float64] | None:
    """Brightness around the middle of the largest object of a colour."""
    found = next((s for s in objects if s.colour == colour), None)
    if found is None:
        return None
    middle = sprites.SIZE // 2
    offset = (middle - round(found.y) - shift[1], middle - round(found.x) - shift[0])
    inside = slice(middle - _CROP // 2, middle + _CROP // 2)
    patch: npt.NDArray[np.float64] = np.roll(frame.max(axis=2), offset, axis=(0, 1))[inside, inside].astype(np.float64)
    return patch


def _correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))


def _seams(steps: Steps, period: int) -> tuple[Steps, Steps]:
    """Displacements across borders, one every `period` frames after the first chunk, and all others."""
    into_frame = np.arange(1, len(steps) + 1)
    across = (into_frame >= CHUNK) & (into_frame % period == 0)
    return steps[across], steps[~across]


def _mean_ratio(pairs: Sequence[tuple[Steps, Steps]]) -> float | None:
    """Mean length of the first steps over that of the second, over all pairs; None where the second hardly move."""
    over = [float(np.linalg.norm(steps, axis=1).mean()) for steps, _ in pairs]
    under = [float(np.linalg.norm(steps, axis=1).mean()) for _, steps in pairs]
    return sum(over) / sum(under) if sum(under) >= _LEAST_STEP * max(1, len(under)) else None
