"""Denoises windows: frame 0 alone, then all frames together from the moved or the repeated latents of frame 0.

DDIM (Song et al. 2021) without added noise, in float32; networks compute in their own dtype.

Shapes: F frames, C latent channels, H, W latent rows and columns, P, R picture rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from core.model.networks.cross_frame_attention import first_frames_of
from core.model.pipelines.stable_diffusion import TextStates
from core.model.sampling.samplers import split_prediction
from core.model.sampling.schedules import NoiseSchedule
from core.service.domain.engine import OnStep

Change = Callable[[Tensor], Tensor]
"""Latents [F, C, H, W] after a step -> the ones to go on with."""


@dataclass(frozen=True)
class Steps:
    """The timesteps of a job, and the two of them between which frame 0 is moved."""

    schedule: NoiseSchedule
    timesteps: tuple[int, ...]
    joint: int
    """Step at which all frames begin to be denoised together (T)."""
    moving: int
    """Step before which frame 0 is moved (T', less noisy)."""

    @property
    def signals(self) -> list[Tensor]:
        """alpha_bar before each step, and after the last."""
        return [*(self.schedule.signal_at(t) for t in self.timesteps), self.schedule.signal_after_last()]

    def renoised(self, x: Tensor, noise: Tensor) -> Tensor:
        """Latents `x` at step `moving` taken back to step `joint` (the forward process, equation 8).

        As published, the variances are those of timesteps [T', T) and not (T', T].
        """
        kept = self._before(self.timesteps[self.joint]) / self._before(self.timesteps[self.moving])
        return kept**0.5 * x + (1 - kept) ** 0.5 * noise

    def _before(self, timestep: int) -> Tensor:
        return self.schedule.signal_at(timestep - 1) if timestep > 0 else torch.tensor(1.0)


def motion_steps(schedule: NoiseSchedule, timesteps: tuple[int, ...], t0: float, t1: float) -> Steps:
    """Steps for noise levels `t0` < `t1`, shares of the steps; 0.88 and 0.94 are timesteps 881 and 941 of 50 steps.

    At least one step lies between them, as far as there is one. A timestep without any signal (zero terminal SNR)
    would forget the motion, so it is not used.
    """
    last = len(timesteps) - 1
    first = 1 if schedule.signal_at(timesteps[0]) == 0 else 0
    joint = min(max(last - round(t1 * len(timesteps)), first), last)
    moving = min(max(last - round(t0 * len(timesteps)), joint + 1), last)
    return Steps(schedule, timesteps, joint, moving)


@dataclass(frozen=True)
class Control:
    """A ControlNet and the maps that it reads."""

    network: Any
    maps_F3PR: Tensor
    """In [0, 1]."""
    scale: float
    start: float
    end: float
    """It acts between these shares of the steps."""

    def acts_at(self, step: int, num_steps: int) -> bool:
        """Whether it acts at a step, by diffusers' rule: only if all of the step is between start and end."""
        return step / num_steps >= self.start and (step + 1) / num_steps <= self.end


@dataclass(frozen=True)
class Denoiser:
    """Guided predictions of a UNet whose frames read the first one (`attend_to_first_frames`)."""

    unet: Any
    text: TextStates
    """Of one text, or of one for each frame."""
    negative: TextStates | None
    """None: no guidance."""
    guidance_scale: float
    sizes_16: Tensor
    """What Stable Diffusion XL reads besides: original size, crop and target size, each (height, width) in pixels."""
    control: Control | None = None

    def for_first_frame(self) -> "Denoiser":
        """The same for a batch of frame 0 alone."""
        text = self.text
        pooled = None if text.pooled_BE is None else text.pooled_BE[:1]
        return replace(self, text=TextStates(text.states_BLD[:1], pooled))

    def __call__(self, x_FCHW: Tensor, timestep: Tensor, step: int, num_steps: int) -> Tensor:
        """The guided prediction, float32. Each text is a call of its own, which needs half of the memory."""
        control = self.control
        if control is not None and not control.acts_at(step, num_steps):
            control = None
        inputs = x_FCHW.to(self.unet.dtype)
        prediction = self._predict(inputs, timestep, self.text, control)
        if self.negative is None:
            return prediction
        without = self._predict(inputs, timestep, self.negative, control)
        return without + self.guidance_scale * (prediction - without)

    def _predict(self, inputs: Tensor, timestep: Tensor, text: TextStates, control: Control | None) -> Tensor:
        arguments: dict[str, Any] = {
            "encoder_hidden_states": text.states_BLD,
            "added_cond_kwargs": self._added(text, len(inputs)),
            "cross_attention_kwargs": first_frames_of(1),
            "return_dict": False,
        }
        residuals = {} if control is None else _residuals(control, inputs, timestep, arguments)
        (prediction,) = self.unet(inputs, timestep, **arguments, **residuals)
        return prediction.float()

    def _added(self, text: TextStates, num_frames: int) -> dict[str, Tensor] | None:
        """Of Stable Diffusion XL: pooled text and sizes, for each frame."""
        if text.pooled_BE is None:
            return None
        return {
            "text_embeds": text.pooled_BE.expand(num_frames, -1),
            "time_ids": self.sizes_16.to(text.pooled_BE).expand(num_frames, -1),
        }


def _residuals(control: Control, inputs: Tensor, timestep: Tensor, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the ControlNet adds to the UNet's features."""
    down, middle = control.network(
        inputs,
        timestep,
        controlnet_cond=control.maps_F3PR.to(inputs.dtype),
        conditioning_scale=control.scale,
        **arguments,
    )
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def denoised(
    denoiser: Denoiser, x_FCHW: Tensor, steps: Steps, between: range, report: OnStep, change: Change | None = None
) -> Tensor:
    """Latents after the steps `between`, float32. `report` is called before each; what it raises ends the sampling."""
    signals, num_steps = steps.signals, len(steps.timesteps)
    timesteps = torch.tensor(steps.timesteps, device=x_FCHW.device)
    for done, step in enumerate(between):
        report(done, len(between))
        prediction = denoiser(x_FCHW, timesteps[step], step, num_steps)
        clean, epsilon = split_prediction(steps.schedule, x_FCHW, prediction, signals[step])
        x_FCHW = signals[step + 1] ** 0.5 * clean + (1 - signals[step + 1]) ** 0.5 * epsilon
        x_FCHW = x_FCHW if change is None else change(x_FCHW)
    return x_FCHW
