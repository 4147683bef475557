"""Refining a video in overlapping windows: in lockstep as published, or streaming, one window after another.

Lockstep: at every step all windows are predicted from the same latents, overlaps are blended, and one solver step
advances the whole video. Streaming: window k is finished before window k+1, which blends its overlap with window k's
prediction at each step (its trajectory); memory and latency do not grow with the video. The results differ because in
streaming a window never depends on the next one. Noise and cuts come from the caller and are the same for both.

Shapes: C channels, F frames (of a window, or of the whole video V), H, W latent rows and columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.model.refinement.blending import CutSource, blend
from core.model.refinement.noise import START, FrameNoise
from core.model.refinement.schedule import RefinementSchedule
from core.model.refinement.solver import advance, clean_from, network_input, noised
from core.model.sampling.schedules import Prediction
from core.service.domain.engine import OnStep
from core.service.domain.frame_plan import RefinementWindow, first_shared_with_next, published_by, within

WindowPredictor = Callable[[Sequence[Tensor], int], Sequence[Tensor]]
"""(noised windows [1, C, F, H, W] in the network's scale, timestep) -> guided prediction of each."""


@dataclass(frozen=True)
class Refiner:
    """Network, schedule and random noise of a refinement."""

    predict: WindowPredictor
    schedule: RefinementSchedule
    noise: FrameNoise
    cut: CutSource
    prediction: Prediction = "v_prediction"


@dataclass(frozen=True)
class Trajectory:
    """A window's predictions of its last frames at every step, for blending with the next window."""

    first_frame: int
    clean_S1CFHW: Tensor
    """Clean predictions [S, 1, C, F, H, W] after blending, F the frames from `first_frame` to the window's end."""

    def at(self, step: int, num_frames: int) -> Tensor:
        """Its first `num_frames` frames at a step [1, C, F, H, W]."""
        return self.clean_S1CFHW[step][:, :, :num_frames]

    def from_frame(self, first_frame: int) -> "Trajectory":
        """The same without the frames before `first_frame`. Raises ValueError if it begins later."""
        if first_frame < self.first_frame:
            raise ValueError(f"the state begins at frame {self.first_frame}, but the window at frame {first_frame}")
        return Trajectory(first_frame, self.clean_S1CFHW[:, :, :, first_frame - self.first_frame :])


@dataclass(frozen=True)
class LockstepState:
    """The whole video between two steps: x in the solver's scale and the last clean prediction (None before step 0)."""

    step: int
    x_1CVHW: Tensor
    last_clean_1CVHW: Tensor | None


def start_lockstep(refiner: Refiner, clean_1CVHW: Tensor) -> LockstepState:
    """The state before step 0."""
    noise = _like(refiner.noise(range(clean_1CVHW.shape[2]), START), clean_1CVHW)
    return LockstepState(0, noised(clean_1CVHW, noise, refiner.schedule), None)


def step_lockstep(refiner: Refiner, state: LockstepState, windows: Sequence[RefinementWindow]) -> LockstepState:
    """One step: predict all windows from the same latents, blend overlaps, advance the whole video."""
    step, x = state.step, state.x_1CVHW
    parts = [x[:, :, window.first_frame : window.end_frame] for window in windows]
    clean = torch.empty_like(x)
    for window, predicted in zip(windows, _predict_clean(refiner, parts, step), strict=True):
        kept = window.num_held + _cut(refiner, window, step)
        clean[:, :, window.first_frame + kept : window.end_frame] = predicted[:, :, kept:]
    advanced = _advance(refiner, x, clean, state.last_clean_1CVHW, range(x.shape[2]), step)
    return LockstepState(step + 1, advanced, clean)


def refine_in_lockstep(
    refiner: Refiner, clean_1CVHW: Tensor, windows: Sequence[RefinementWindow], on_step: OnStep
) -> Tensor:
    """Refined latents of the whole video [1, C, V, H, W] by the published schedule.

    `on_step` is called before each step; what it raises ends the refinement.
    """
    state = start_lockstep(refiner, clean_1CVHW)
    for step in range(refiner.schedule.num_steps):
        on_step(step, refiner.schedule.num_steps)
        state = step_lockstep(refiner, state, windows)
    return state.x_1CVHW


def refine_window(
    refiner: Refiner,
    clean_1CFHW: Tensor,
    window: RefinementWindow,
    before: Trajectory | None,
    next_first_frame: int,
    on_step: OnStep,
) -> tuple[Tensor, Trajectory]:
    """Streaming: refined latents of one window [1, C, F, H, W], and its trajectory from `next_first_frame` on.

    `before`: the previous window's trajectory from this window's first frame on; None for the first window. Held frames
    follow it throughout, so they are unchanged; blended frames follow it up to the cut of each step.
    """
    schedule, frames = refiner.schedule, range(window.first_frame, window.end_frame)
    x = noised(clean_1CFHW, _like(refiner.noise(frames, START), clean_1CFHW), schedule)
    last_clean: Tensor | None = None
    kept_by_step: list[Tensor] = []
    for step in range(schedule.num_steps):
        on_step(step, schedule.num_steps)
        (clean,) = _predict_clean(refiner, [x], step)
        if before is not None:
            kept = window.num_held + _cut(refiner, window, step)
            clean = blend(before.at(step, kept), clean, kept)
        x, last_clean = _advance(refiner, x, clean, last_clean, frames, step), clean
        kept_by_step.append(clean[:, :, next_first_frame - window.first_frame :])
    return x, Trajectory(next_first_frame, torch.stack(kept_by_step))


def refine_streaming(
    refiner: Refiner, clean_1CVHW: Tensor, windows: tuple[RefinementWindow, ...], on_step: OnStep
) -> Tensor:
    """Refined latents of the whole video [1, C, V, H, W], one window after another."""
    published: list[Tensor] = []
    before: Trajectory | None = None
    for window in windows:
        part = clean_1CVHW[:, :, window.first_frame : window.end_frame]
        next_first = first_shared_with_next(window, windows[-1].end_frame)
        refined, before = refine_window(refiner, part, window, before, next_first, on_step)
        published.append(refined[:, :, within(window, published_by(windows, window.index))])
    return torch.cat(published, dim=2)


def _predict_clean(refiner: Refiner, parts: Sequence[Tensor], step: int) -> list[Tensor]:
    """Clean predictions of windows in the solver's scale."""
    inputs = [network_input(part, refiner.schedule, step) for part in parts]
    predictions = refiner.predict(inputs, refiner.schedule.timesteps[step])
    return [
        clean_from(refiner.prediction, x, predicted, refiner.schedule, step)
        for x, predicted in zip(inputs, predictions, strict=True)
    ]


def _advance(refiner: Refiner, x: Tensor, clean: Tensor, last_clean: Tensor | None, frames: range, step: int) -> Tensor:
    """One solver step; the last one needs no noise."""
    is_last = step == refiner.schedule.num_steps - 1
    noise = None if is_last else _like(refiner.noise(frames, step), x)
    return advance(x, clean, last_clean, noise, refiner.schedule, step)


def _cut(refiner: Refiner, window: RefinementWindow, step: int) -> int:
    """Number of blended frames taken from the previous window; 0 for the first window."""
    return refiner.cut(step, window.index) if window.num_blended else 0


def _like(drawn: Tensor, x: Tensor) -> Tensor:
    return drawn.to(device=x.device, dtype=x.dtype)
