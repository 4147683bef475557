"""Frames as tensors and as unscaled latents, computed in bfloat16: for autoencoders that are still in training."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from core.model.sampling.vae import to_pictures
from core.service.domain.engine import FramesTHWC


def frames_to_tensor(frames: FramesTHWC) -> Tensor:
    """uint8 [T, H, W, 3] -> float [T, 3, H, W] in [-1, 1], contiguous: memory layout affects the last bits."""
    return to_pictures(frames).contiguous()


def unscaled_latents(vae: nn.Module, frames_n3hw: Tensor) -> Tensor:
    """Mean latents of frames in [-1, 1]: [N, 3, H, W] -> float [N, 4, H/8, W/8] on the CPU, without scaling factor."""
    device = device_of(vae)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        posterior = cast("Any", vae).encode(frames_n3hw.to(device)).latent_dist
    return cast("Tensor", posterior.mean).float().cpu()


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's weights."""
    return next(network.parameters()).device
