"""True clips through the autoencoder alone: the best result that a model on its latents could reach.

What a figure loses here, no denoiser can recover.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from core.model.evaluation.generation.videos import VideoRequest
from core.model.evaluation.metrics.measurements import Measured, Measurer
from core.model.networks.builders import build_vae
from core.model.presets.files import load_module
from core.model.sampling.vae import reconstructed
from core.model.training.sprites.encoding import frames_to_tensor
from core.model.training.sprites.rendering import render
from core.service.domain.engine import FramesTHWC

LENGTH = 64
"""Maximum number of frames. True clips do not drift, so longer ones show nothing new."""


def load_autoencoder(preset: Path) -> AutoencoderKL:
    """The preset's autoencoder. Raises PresetError."""
    return load_module(preset / "vae", build_vae)


@torch.inference_mode()
def through_autoencoder(vae: AutoencoderKL, frames_thwc: FramesTHWC) -> FramesTHWC:
    """Frames encoded and decoded."""
    return reconstructed(vae, frames_to_tensor(frames_thwc))


@dataclass(frozen=True)
class AutoencoderEvaluator:
    """Measures the scenes' own frames, encoded and decoded; at most LENGTH of them."""

    vae: AutoencoderKL
    measure: Measurer

    def __call__(self, request: VideoRequest) -> Measured:
        """The figures of a true clip."""
        frames = render(request.scene, min(request.spec.length, LENGTH))
        return self.measure(through_autoencoder(self.vae, frames), request.scene)
