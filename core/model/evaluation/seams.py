"""Seams of refined videos: how evenly they move, and four ways to refine the same latents, to be compared.

The seam score is that of the paper's table on randomized blending (arXiv 2403.14773): the standard deviation over
frames of the optical flow's magnitude. The flow here is block matching (block_flow.py), no network. So scores compare
with one another, not with the paper's, whose flow and videos are others. Knows refinement and frames; knows no preset
and no engine.

Shapes: T frames, H, W pixel rows and columns, C latent channels, V frames of the latent video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.model.evaluation.block_flow import Floats, flow_magnitudes
from core.model.evaluation.reader import Frames
from core.model.refinement.windows import (
    Refiner,
    WindowPredictor,
    refine_in_lockstep,
    refine_streaming,
    refine_window,
)
from core.service.domain.engine import ignore_step
from core.service.domain.frame_plan import RefinementWindow, refinement_windows, unblended, within

Score = TypeVar("Score", float, npt.NDArray[np.float64])
Way = Callable[[Refiner, Tensor], Tensor]
"""(refiner, clean latents [1, C, V, H, W] of the enlarged preview) -> refined latents of the same shape."""


@dataclass(frozen=True)
class SeamFigures:
    """One refined video."""

    score: float
    """Standard deviation over frames of the flow magnitude, pixels."""
    across: float
    """Mean flow magnitude across the borders of windows, pixels."""


def seam_figures(frames_thwc: Frames) -> SeamFigures:
    """Of a video that was refined in the windows of its length; no border where there is one window."""
    magnitudes = flow_magnitudes(frames_thwc)
    across = [magnitudes[border - 1] for border in borders(refinement_windows(len(frames_thwc)))]
    return SeamFigures(float(magnitudes.std()), float(np.mean(across)) if across else 0.0)


def borders(windows: tuple[RefinementWindow, ...]) -> list[int]:
    """First frame of every window but the first where overlaps are cut in the middle."""
    return [unblended(windows, window.index).start for window in windows[1:]]


def false_changes(frames_thwc: Frames, true_thwc: Frames) -> Floats:
    """How far a video changes from each frame to the next other than the true one does [T-1]: mean over pixels, grey
    levels. Motion that is right counts nothing, so this is finer than the flow where a refiner is good."""
    changes, true_changes = (np.diff(video.astype(np.float32), axis=0) for video in (frames_thwc, true_thwc))
    return np.abs(changes - true_changes).mean(axis=(1, 2, 3), dtype=np.float32)


def at_seams(by_change: Floats, windows: tuple[RefinementWindow, ...]) -> tuple[float, float]:
    """Of a figure per change of frames [T-1]: mean over overlaps of the largest in it, and mean of all outside.

    Blended windows change over anywhere within an overlap, cut ones in its middle.
    """
    overlaps = [range(w.first_frame + w.num_held - 1, w.first_frame + w.num_held + w.num_blended) for w in windows[1:]]
    inside = np.zeros(len(by_change), bool)
    for overlap in overlaps:
        inside[overlap.start : overlap.stop] = True
    largest = [float(by_change[overlap.start : overlap.stop].max()) for overlap in overlaps]
    return float(np.mean(largest)), float(by_change[~inside].mean())


def independent(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Every window alone, with noise of its own."""
    num_frames = clean_1CVHW.shape[2]

    def noise_of(window: RefinementWindow) -> Refiner:
        first = window.index * num_frames

        # A frame's noise is that of a frame which no other window has.
        def noise(frames: range, step: int) -> Tensor:
            return refiner.noise(range(first + frames.start, first + frames.stop), step)

        return replace(refiner, noise=noise)

    return _joined(noise_of, clean_1CVHW)


def shared_noise_only(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Every window alone, with noise that overlapping windows share."""
    return _joined(lambda window: refiner, clean_1CVHW)  # noqa: ARG005 - the same for every window


def _joined(refiner_of: Callable[[RefinementWindow], Refiner], clean_1CVHW: Tensor) -> Tensor:
    """Windows refined one by one and cut in the middle of their overlaps."""
    windows, parts = refinement_windows(clean_1CVHW.shape[2]), list[Tensor]()
    for window in windows:
        part = clean_1CVHW[:, :, window.first_frame : window.end_frame]
        alone, _ = refine_window(refiner_of(window), part, window, None, window.end_frame, ignore_step)
        parts.append(alone[:, :, within(window, unblended(windows, window.index))])
    return torch.cat(parts, dim=2)


def lockstep(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Randomized blending of all windows together, as published."""
    return refine_in_lockstep(refiner, clean_1CVHW, refinement_windows(clean_1CVHW.shape[2]), ignore_step)


def streaming(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Randomized blending with the stored trajectory of the window before."""
    return refine_streaming(refiner, clean_1CVHW, refinement_windows(clean_1CVHW.shape[2]), ignore_step)


WAYS: Mapping[str, Way] = {
    "independent": independent,
    "shared noise": shared_noise_only,
    "lockstep": lockstep,
    "streaming": streaming,
}


def refine_every_way(
    refiner: Refiner, clean_1CVHW: Tensor, decode: Callable[[Tensor], Frames]
) -> Iterator[tuple[str, Frames]]:
    """All ways on the same latents and the same draws, by name. `decode` makes frames [V, H, W, 3] of latents."""
    thrifty = replace(refiner, predict=remembering(refiner.predict))
    for name, way in WAYS.items():
        yield name, decode(way(thrifty, clean_1CVHW))


def remembering(predict: WindowPredictor) -> WindowPredictor:
    """The same predictor, which computes nothing twice: the ways begin alike, and three have the same first window."""
    known: dict[tuple[int, bytes], Tensor] = {}

    def predict_once(windows: Sequence[Tensor], timestep: int) -> list[Tensor]:
        keys = [(timestep, hashlib.sha256(window.cpu().contiguous().numpy().tobytes()).digest()) for window in windows]
        new = {key: window for key, window in zip(keys, windows, strict=True) if key not in known}
        if new:
            known.update(zip(new, predict(list(new.values()), timestep), strict=True))
        return [known[key] for key in keys]

    return predict_once


def gain_kept(scores: Mapping[str, Score]) -> Score:
    """Share of lockstep's gain over independent windows that streaming keeps; scores by way, lower is better."""
    return (scores["independent"] - scores["streaming"]) / (scores["independent"] - scores["lockstep"])
