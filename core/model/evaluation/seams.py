"""Seams of refined videos: how evenly they move, and four ways to refine the same latents, to be compared.

The seam score is that of the paper's table on randomized blending (arXiv 2403.14773): the standard deviation over
frames of the optical flow's magnitude. The flow here is block matching: of every 8x8 block, the whole-pixel shift by
at most 8 pixels each way with the least squared difference between two frames; no network. So scores compare with one
another, not with the paper's, whose flow and videos are others. Knows refinement and frames; knows no preset and no
engine.

Shapes: T frames, H, W pixel rows and columns, C latent channels, V frames of the latent video.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.model.evaluation.reader import Frames
from core.model.refinement.windows import Refiner, refine_in_lockstep, refine_streaming, refine_window
from core.service.frame_plan import RefinementWindow, refinement_windows

Floats = npt.NDArray[np.float32]
Way = Callable[[Refiner, Tensor], Tensor]
"""(refiner, clean latents [1, C, V, H, W] of the enlarged preview) -> refined latents of the same shape."""

_BLOCK = 8
_SEARCH = 8
_LEAST_GAIN = 4.0
"""A block moves a pixel further only for so much less squared difference per pixel, in grey levels: flat ones stand."""


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


def flow_magnitudes(frames_thwc: Frames) -> Floats:
    """Mean length of the flow from each frame to the next [T-1], pixels. H and W must be multiples of 8.

    Blocks are sought across the picture's edge, too: the sprites world is a torus.
    """
    grey_thw = frames_thwc.astype(np.float32).mean(axis=-1, dtype=np.float32)
    best: Floats | None = None
    lengths = np.zeros((), np.float32)
    for length, shift in _shifts():
        moved = np.roll(grey_thw[:-1], shift, axis=(1, 2))
        # The mean over blocks of the frame that is arrived at.
        cost = _block_means((moved - grey_thw[1:]) ** 2) + np.float32(_LEAST_GAIN * length)
        better = np.ones(cost.shape, bool) if best is None else cost < best
        best = cost if best is None else np.where(better, cost, best)
        lengths = np.where(better, np.float32(length), lengths)
    return lengths.mean(axis=(1, 2), dtype=np.float32)


def _shifts() -> list[tuple[float, tuple[int, int]]]:
    """Shifts (rows, columns) with their lengths, the shortest first."""
    reach = range(-_SEARCH, _SEARCH + 1)
    return sorted((float(np.hypot(rows, columns)), (rows, columns)) for rows in reach for columns in reach)


def _block_means(values_thw: Floats) -> Floats:
    """[T, H, W] -> [T, H / 8, W / 8]."""
    frames, height, width = values_thw.shape
    blocks = values_thw.reshape(frames, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def borders(windows: Sequence[RefinementWindow]) -> list[int]:
    """First frame of every window but the first where overlaps are cut in the middle."""
    return [window.first_frame + _own_from(window) for window in windows[1:]]


def _own_from(window: RefinementWindow) -> int:
    """Frames that a window leaves to the one before it where nothing is blended: half of the overlap."""
    return window.num_held + window.num_blended // 2


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
    refined = torch.empty_like(clean_1CVHW)
    for window in refinement_windows(clean_1CVHW.shape[2]):
        part = clean_1CVHW[:, :, window.first_frame : window.end_frame]
        alone, _ = refine_window(refiner_of(window), part, window, None, window.end_frame, _ignore_step)
        own = _own_from(window)
        refined[:, :, window.first_frame + own : window.end_frame] = alone[:, :, own:]
    return refined


def lockstep(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Randomized blending of all windows together, as published."""
    return refine_in_lockstep(refiner, clean_1CVHW, refinement_windows(clean_1CVHW.shape[2]), _ignore_step)


def streaming(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Randomized blending with the stored trajectory of the window before."""
    return refine_streaming(refiner, clean_1CVHW, refinement_windows(clean_1CVHW.shape[2]), _ignore_step)


def _ignore_step(step: int, steps: int) -> None:
    """Progress nobody watches."""
    del step, steps


WAYS: Mapping[str, Way] = {
    "independent": independent,
    "shared noise": shared_noise_only,
    "lockstep": lockstep,
    "streaming": streaming,
}


def compare_ways(refiner: Refiner, clean_1CVHW: Tensor, decode: Callable[[Tensor], Frames]) -> dict[str, SeamFigures]:
    """All ways on the same latents and the same draws. `decode` makes frames [V, H, W, 3] of refined latents."""
    return {name: seam_figures(decode(way(refiner, clean_1CVHW))) for name, way in WAYS.items()}


def gain_kept(scores: Mapping[str, float]) -> float:
    """Share of lockstep's gain over independent windows that streaming keeps; scores by way, lower is better."""
    return (scores["independent"] - scores["streaming"]) / (scores["independent"] - scores["lockstep"])
