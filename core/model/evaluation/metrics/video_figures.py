"""Figures of one video of the sprites world: does it show the requested scene, from the first chunk to the last?

Pure functions of frames and the scene they should show.

Shapes: T frames, H, W pixel rows and columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.model.evaluation.metrics.frame_reader import (
    DetectedObject,
    FrameHWC,
    Mask,
    Steps,
    colour_masks,
    read_frame,
    read_path,
    steps_of,
)
from core.model.training.sprites import world
from core.service.domain.engine import FramesTHWC

CHUNK = 16
WINDOW_STEP = 8
"""New frames per window: after the first chunk there is a window border at every eighth frame."""
_CROP = 10
"""Side of the patch around an object's centre whose texture is compared, pixels."""
_MARGIN = 3
"""Pixels around objects that count as neither object nor background."""
_STEADY_MOTIONS = frozenset({*world.DIRECTIONS, "circling"})
_MIN_STEP = 0.25
"""Pixels per frame. Below it ratios of steps are not computed; the slowest sprite moves by 1.2."""
_SEARCH = 2
"""Pixels by which texture patches may be misaligned."""


@dataclass(frozen=True)
class VideoFigures:
    """One video. Shares are of frames, in [0, 1]; correlations in [-1, 1]; None if there is nothing to measure."""

    num_sprites: int
    """Requested objects."""
    colour_right: bool
    """The prompt's colours, and no others, are in most frames of the first chunk."""
    shape_right: bool
    """The prompt's shapes are in most frames of the first chunk."""
    motion_right: bool
    """Each object's path over the first chunk is nearest to the requested motion."""
    pace_right: bool | None
    """The same for the paces of moving objects; None if nothing should move."""
    right_objects_at_end: float
    """Share of the last chunk's frames with exactly the requested objects."""
    background_kept: float
    """Similarity of the last chunk's background to the anchor's."""
    texture_kept: float | None
    """Correlation of the objects' texture in the last chunk with the anchor's."""
    motion_kept: float | None
    """Mean step of the last chunk over that of the first; None if nothing moves in the first, or should move."""
    seam_ratio: float | None
    """Mean displacement across chunk borders over that inside chunks, for motions of constant speed."""
    window_seam_ratio: float | None
    """The same for all borders between windows, every 8 frames after the first chunk."""


def measure(frames_thwc: FramesTHWC, scene: world.Scene) -> VideoFigures:
    """All figures of a video that should show `scene`."""
    detected = [read_frame(frame) for frame in frames_thwc]
    first, last = detected[:CHUNK], detected[-CHUNK:]
    expected = {sprite.colour: sprite.shape for sprite in scene.sprites}
    tracks = [(sprite, track_steps(detected, sprite.colour)) for sprite in scene.sprites]
    paths = [(sprite, *read_path(steps[: CHUNK - 1])) for sprite, steps in tracks]
    moving = [steps for sprite, steps in tracks if sprite.motion != "standing"]
    steady = [steps for sprite, steps in tracks if sprite.motion in _STEADY_MOTIONS and len(steps) >= CHUNK]
    return VideoFigures(
        num_sprites=len(scene.sprites),
        colour_right=_most(sorted(s.colour for s in objects) == sorted(expected) for objects in first),
        shape_right=_most(_has_shapes(objects, expected) for objects in first),
        motion_right=all(motion == sprite.motion for sprite, motion, _ in paths),
        pace_right=all(pace == sprite.pace for sprite, _, pace in paths) if moving else None,
        right_objects_at_end=float(np.mean([_has_exactly(objects, expected) for objects in last])),
        background_kept=float(
            np.mean([background_similarity(frames_thwc[0], frame) for frame in frames_thwc[-CHUNK:]])
        ),
        texture_kept=_mean_texture(frames_thwc, detected, tuple(expected)),
        motion_kept=_mean_ratio([(s[-(CHUNK - 1) :], s[: CHUNK - 1]) for s in moving]),
        seam_ratio=_mean_ratio([_seams(s, CHUNK) for s in steady]),
        window_seam_ratio=_mean_ratio([_seams(s, WINDOW_STEP) for s in steady]),
    )


def _most(values: Iterable[bool]) -> bool:
    """Whether more than half are true."""
    flags = list(values)
    return sum(flags) * 2 > len(flags)


def _has_shapes(objects: Sequence[DetectedObject], expected: dict[str, str]) -> bool:
    """Whether the largest object of each colour has the expected shape."""
    largest = {found.colour: found.shape for found in reversed(objects)}
    return all(largest.get(colour) == shape for colour, shape in expected.items())


def _has_exactly(objects: Sequence[DetectedObject], expected: dict[str, str]) -> bool:
    return Counter((s.colour, s.shape) for s in objects) == Counter(expected.items())


def track_steps(detected: Sequence[Sequence[DetectedObject]], colour: str) -> Steps:
    """Displacements [T-1, 2] of the largest object of a colour; in frames without it, it keeps its last position."""
    position = (world.SIZE / 2, world.SIZE / 2)
    track: list[tuple[float, float]] = []
    for objects in detected:
        position = next(((s.x, s.y) for s in objects if s.colour == colour), position)
        track.append(position)
    return steps_of(track)


def background_similarity(anchor: FrameHWC, frame: FrameHWC) -> float:
    """Similarity of two frames' backgrounds, at most 1, over pixels where neither shows an object.

    The correlation of brightness; for a plain background, which has no pattern, 1 minus the mean difference relative
    to the contrast of the world's patterns (85 of 255).
    """
    free = ~(_covered(anchor) | _covered(frame))
    first, second = anchor.mean(axis=2)[free], frame.mean(axis=2)[free]
    if len(first) == 0:
        return 0.0
    if first.std() < 8:
        return float(max(0.0, 1 - np.abs(first - second).mean() / 85))
    return _correlation(first, second)


def _covered(frame: FrameHWC) -> Mask:
    """Pixels of objects and within _MARGIN of them."""
    mask: Mask = np.asarray(colour_masks(frame).any(axis=0))
    for _ in range(_MARGIN):
        mask = mask | np.roll(mask, 1, 0) | np.roll(mask, -1, 0) | np.roll(mask, 1, 1) | np.roll(mask, -1, 1)
    return mask


def _mean_texture(
    frames_thwc: FramesTHWC, detected: Sequence[Sequence[DetectedObject]], colours: Sequence[str]
) -> float | None:
    """Mean over objects and over every fourth frame of the last chunk; None if the anchor shows none of the objects."""
    similarities: list[float] = []
    for colour in colours:
        anchor = _patch(frames_thwc[0], detected[0], colour)
        if anchor is None:
            continue
        for index in range(len(detected) - CHUNK, len(detected), 4):
            similarities.append(_patch_similarity(anchor, frames_thwc[index], detected[index], colour))
    return float(np.mean(similarities)) if similarities else None


def _patch_similarity(
    anchor: npt.NDArray[np.float64], frame: FrameHWC, objects: Sequence[DetectedObject], colour: str
) -> float:
    """Best correlation of the anchor's patch with the frame's around the object; 0 if the object is missing."""
    shifts = range(-_SEARCH, _SEARCH + 1)
    patches = (_patch(frame, objects, colour, (dx, dy)) for dx in shifts for dy in shifts)
    return max((_correlation(anchor.ravel(), patch.ravel()) for patch in patches if patch is not None), default=0.0)


def _patch(
    frame: FrameHWC, objects: Sequence[DetectedObject], colour: str, shift: tuple[int, int] = (0, 0)
) -> npt.NDArray[np.float64] | None:
    """Brightness around the centre of the largest object of a colour; None if there is none."""
    found = next((s for s in objects if s.colour == colour), None)
    if found is None:
        return None
    middle = world.SIZE // 2
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
    """Mean length of the first steps over that of the second, over all pairs; None if the second are too short."""
    over = [float(np.linalg.norm(steps, axis=1).mean()) for steps, _ in pairs]
    under = [float(np.linalg.norm(steps, axis=1).mean()) for _, steps in pairs]
    return sum(over) / sum(under) if sum(under) >= _MIN_STEP * max(1, len(under)) else None
