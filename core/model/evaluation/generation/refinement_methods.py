"""Four methods to refine the same latents window by window, for comparison.

Shapes: C latent channels, V frames of the latent video, H, W latent rows and columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from core.model.refinement.windows import (
    Refiner,
    WindowPredictor,
    refine_in_lockstep,
    refine_streaming,
    refine_window,
)
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import RefinementWindow, refinement_windows, unblended, within

RefinementMethod = Callable[[Refiner, Tensor], Tensor]
"""(refiner, clean latents [1, C, V, H, W] of the enlarged preview) -> refined latents of the same shape."""


def independent(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Every window on its own, with its own noise."""
    num_frames = clean_1CVHW.shape[2]

    def with_own_noise(window: RefinementWindow) -> Refiner:
        first = window.index * num_frames

        # Frame numbers are shifted so that no two windows share noise.
        def noise(frames: range, step: int) -> Tensor:
            return refiner.noise(range(first + frames.start, first + frames.stop), step)

        return replace(refiner, noise=noise)

    return _concatenated(with_own_noise, clean_1CVHW)


def shared_noise_only(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Every window on its own, with noise that overlapping windows share."""
    return _concatenated(lambda window: refiner, clean_1CVHW)  # noqa: ARG005 - the same for every window


def _concatenated(refiner_of: Callable[[RefinementWindow], Refiner], clean_1CVHW: Tensor) -> Tensor:
    """Windows refined one by one and cut in the middle of their overlaps."""
    windows, parts = refinement_windows(clean_1CVHW.shape[2]), list[Tensor]()
    for window in windows:
        part = clean_1CVHW[:, :, window.first_frame : window.end_frame]
        refined, _ = refine_window(refiner_of(window), part, window, None, window.end_frame, ignore_step)
        parts.append(refined[:, :, within(window, unblended(windows, window.index))])
    return torch.cat(parts, dim=2)


def lockstep(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Randomized blending of all windows together, as published (arXiv 2403.14773)."""
    return refine_in_lockstep(refiner, clean_1CVHW, refinement_windows(clean_1CVHW.shape[2]), ignore_step)


def streaming(refiner: Refiner, clean_1CVHW: Tensor) -> Tensor:
    """Randomized blending with the stored trajectory of the window before."""
    return refine_streaming(refiner, clean_1CVHW, refinement_windows(clean_1CVHW.shape[2]), ignore_step)


METHODS: Mapping[str, RefinementMethod] = {
    "independent": independent,
    "shared noise": shared_noise_only,
    "lockstep": lockstep,
    "streaming": streaming,
}


def refine_with_all_methods(
    refiner: Refiner, clean_1CVHW: Tensor, decode: Callable[[Tensor], FramesTHWC]
) -> Iterator[tuple[str, FramesTHWC]]:
    """(name, frames) of all methods on the same latents and noise. `decode` turns latents into frames [V, H, W, 3]."""
    cached_refiner = replace(refiner, predict=cached(refiner.predict))
    for name, method in METHODS.items():
        yield name, decode(method(cached_refiner, clean_1CVHW))


def cached(predict: WindowPredictor) -> WindowPredictor:
    """The predictor with a cache: the methods share their first inputs, and three share the whole first window."""
    known: dict[tuple[int, bytes], Tensor] = {}

    def predict_once(windows: Sequence[Tensor], timestep: int) -> list[Tensor]:
        keys = [(timestep, hashlib.sha256(window.cpu().contiguous().numpy().tobytes()).digest()) for window in windows]
        new = {key: window for key, window in zip(keys, windows, strict=True) if key not in known}
        if new:
            known.update(zip(new, predict(list(new.values()), timestep), strict=True))
        return [known[key] for key in keys]

    return predict_once
