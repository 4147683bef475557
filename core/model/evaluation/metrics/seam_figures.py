"""Seams of refined videos: how evenly they move across the borders of refinement windows.

The score is the flow std (docs/glossary.md) of the StreamingT2V paper's table on randomized blending (arXiv
2403.14773): the standard deviation over frames of the optical flow's magnitude. The flow here is block matching
(block_flow.py), not a network, so scores compare with one another, not with the paper's. The seam score of
core/metrics/video/seams.py is another figure.

Shapes: T frames, H, W pixel rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from core.model.evaluation.metrics.block_flow import Floats, flow_magnitudes
from core.service.domain.engine import FramesTHWC
from core.service.domain.frame_plan import RefinementWindow, refinement_windows, unblended

Score = TypeVar("Score", float, npt.NDArray[np.float64])


@dataclass(frozen=True)
class SeamFigures:
    """One refined video."""

    score: float
    """Flow std: standard deviation over frames of the flow magnitude, pixels."""
    across: float
    """Mean flow magnitude across the borders of windows, pixels."""
    false_at_seams: float
    """Largest false change of an overlap, mean over overlaps; grey levels."""
    false_elsewhere: float
    """Mean false change outside overlaps; grey levels."""


def seam_figures(frames_thwc: FramesTHWC, true_thwc: FramesTHWC) -> SeamFigures:
    """Figures of a video refined in at least two windows; `true_thwc` is the true clip at the same size."""
    windows = refinement_windows(len(frames_thwc))
    score, across = flow_at_borders(frames_thwc, windows)
    at_seams, elsewhere = mean_at_seams(false_changes(frames_thwc, true_thwc), windows)
    return SeamFigures(score, across, at_seams, elsewhere)


def flow_at_borders(frames_thwc: FramesTHWC, windows: tuple[RefinementWindow, ...]) -> tuple[float, float]:
    """Standard deviation of the flow magnitude over all frames, and its mean across window borders (0 without any)."""
    magnitudes = flow_magnitudes(frames_thwc)
    across = [magnitudes[border - 1] for border in borders(windows)]
    return float(magnitudes.std()), float(np.mean(across)) if across else 0.0


def borders(windows: tuple[RefinementWindow, ...]) -> list[int]:
    """First frame of every window but the first, if overlaps are cut in the middle."""
    return [unblended(windows, window.index).start for window in windows[1:]]


def false_changes(frames_thwc: FramesTHWC, true_thwc: FramesTHWC) -> Floats:
    """How much each change between frames differs from the true video's [T-1]: mean over pixels, in grey levels.

    Correct motion counts nothing, so this is more sensitive than the flow if a refiner is good.
    """
    changes, true_changes = (np.diff(video.astype(np.float32), axis=0) for video in (frames_thwc, true_thwc))
    return np.abs(changes - true_changes).mean(axis=(1, 2, 3), dtype=np.float32)


def mean_at_seams(by_change: Floats, windows: tuple[RefinementWindow, ...]) -> tuple[float, float]:
    """Of a figure per frame change [T-1]: the mean over overlaps of its maximum there, and its mean elsewhere.

    Blended windows change over anywhere within an overlap, cut ones in its middle.
    """
    overlaps = [range(w.first_frame + w.num_held - 1, w.first_frame + w.num_held + w.num_blended) for w in windows[1:]]
    inside = np.zeros(len(by_change), bool)
    for overlap in overlaps:
        inside[overlap.start : overlap.stop] = True
    largest = [float(by_change[overlap.start : overlap.stop].max()) for overlap in overlaps]
    return float(np.mean(largest)), float(by_change[~inside].mean())


def gain_kept(scores: Mapping[str, Score]) -> Score:
    """Share of lockstep's gain over independent windows that streaming keeps; scores by method, lower is better."""
    return (scores["independent"] - scores["streaming"]) / (scores["independent"] - scores["lockstep"])
