"""Denoises the edited frames of a chunk: InstructPix2Pix with guidance by text and by image (arXiv 2211.09800, 3.2.1).

Every frame reads the first frame of its batch, as in Video Instruct-Pix2Pix (Text2Video-Zero, arXiv 2303.13439).

Shapes: F frames, C latent channels, H, W latent rows and columns, L text tokens, D text width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.model.networks.cross_frame_attention import first_frames_of
from core.service.domain.engine import OnStep


@dataclass(frozen=True)
class EditGuidance:
    """How strongly the instruction (`text`) and the input video (`image`) are followed."""

    text: float
    image: float


@dataclass(frozen=True)
class EditConditions:
    """What the network reads beside the noisy frames."""

    text: Tensor
    """States of the instruction [1, L, D], or [F, L, D] where each frame has its own."""
    negative: Tensor
    """States of the negative prompt [1, L, D]."""
    image_FCHW: Tensor
    """Latents of the input frames, not scaled."""


@dataclass(frozen=True)
class _Part:
    """One of the predictions that guidance adds up, and how much it counts."""

    weight: float
    text: Tensor
    image_FCHW: Tensor


def edit_latents(
    unet: Any,
    scheduler: Any,
    num_steps: int,
    conditions: EditConditions,
    guidance: EditGuidance,
    generators: Sequence[torch.Generator],
    on_step: OnStep,
) -> Tensor:
    """Scaled latents [F, C, H, W] of the edited frames, float32, on the device of the conditions.

    All noise of a frame, that of each step included, comes from its own generator, on the CPU. `on_step` is called
    before each step; what it raises ends the sampling.
    """
    parts = _parts(conditions, guidance)
    scheduler.set_timesteps(num_steps)  # on the CPU, where the scheduler reads them: the GPU is not waited for
    drawn = [torch.randn((1, *conditions.image_FCHW.shape[1:]), generator=one) for one in generators]
    x_FCHW = torch.cat(drawn).to(conditions.image_FCHW.device) * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        on_step(step, num_steps)
        scaled = scheduler.scale_model_input(x_FCHW, timestep)
        prediction = sum((_weighted(unet, scaled, timestep, part) for part in parts), torch.zeros_like(x_FCHW))
        x_FCHW = scheduler.step(prediction, timestep, x_FCHW, generator=list(generators), return_dict=False)[0]
    return x_FCHW


def _parts(conditions: EditConditions, guidance: EditGuidance) -> list[_Part]:
    """Equation 3 of InstructPix2Pix, e(0, 0) + image (e(frame, 0) - e(0, 0)) + text (e(frame, text) - e(frame, 0)),
    as a weighted sum. Predictions that do not count are not computed.
    """
    frame, no_frame = conditions.image_FCHW, torch.zeros_like(conditions.image_FCHW)
    parts = [
        _Part(guidance.text, conditions.text, frame),
        _Part(guidance.image - guidance.text, conditions.negative, frame),
        _Part(1.0 - guidance.image, conditions.negative, no_frame),
    ]
    return [part for part in parts if part.weight]


def _weighted(unet: Any, scaled_FCHW: Tensor, timestep: Tensor, part: _Part) -> Tensor:
    """The prediction of one part times its weight, float32: in half precision the sum would lose the differences.

    Each part is a call of its own, which needs a third of the memory.
    """
    inputs = torch.cat([scaled_FCHW.to(unet.dtype), part.image_FCHW], dim=1)
    (prediction,) = unet(
        inputs,
        timestep,
        encoder_hidden_states=part.text,
        cross_attention_kwargs=first_frames_of(1),
        return_dict=False,
    )
    return part.weight * prediction.float()
