"""True clips through the autoencoder alone: the best that a model on its latents could show, by the same measures.

What a figure loses here no denoiser can win back. Knows the world and an autoencoder; knows no engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from core.model.evaluation.measurements import Measured, Measurer
from core.model.evaluation.reader import Frames
from core.model.evaluation.videos import Order
from core.model.networks.builders import build_vae
from core.model.presets.files import load_module
from core.model.sampling.vae import reconstructed
from core.model.training import sprites
from core.model.training.vae_stage import to_signal

LENGTH = 64
"""Frames; a true clip does not drift, so no more say anything new."""


def load_autoencoder(preset: Path) -> AutoencoderKL:
    """The preset's autoencoder. Raises errors.PresetError."""
    return load_module(preset / "vae", build_vae)


@torch.inference_mode()
def through_autoencoder(vae: AutoencoderKL, frames_thwc: Frames) -> Frames:
    """Frames encoded and decoded."""
    return reconstructed(vae, to_signal(frames_thwc))


@dataclass(frozen=True)
class AutoencoderStudio:
    """A studio whose videos are the scenes' own frames, encoded and decoded; of LENGTH frames at most."""

    vae: AutoencoderKL
    measure: Measurer

    def __call__(self, order: Order) -> Measured:
        """The figures of a true clip."""
        frames = sprites.render(order.scene, min(order.spec.num_frames, LENGTH))
        return self.measure(through_autoencoder(self.vae, frames), order.scene)
