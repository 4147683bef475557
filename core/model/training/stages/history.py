"""Conditioning of a window, made from a clip's latents: pictures of its history, and tokens of an anchor frame.

At inference the history is what the autoencoder decoded, so in training it is decoded as well.

Shapes: B samples, T frames, C latent channels, H, W latent rows and columns, P, R picture rows and columns, K image
tokens.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.apm import TokenExpander
from core.model.networks.encoders import ClipImageEncoder
from core.model.sampling.vae import MAX_FRAMES_PER_CALL

HISTORY_FRAMES = 16
"""Frames of a sample before its window; the anchor is one of them."""
WINDOW_FRAMES = 16
CONDITIONING_FRAMES = 8
"""First frames of the window, which CAM reads as pictures."""


def history_pictures(
    vae: nn.Module, latents_btchw: Tensor, scale: float, history_noise: float, generator: torch.Generator
) -> Tensor:
    """Unscaled latents -> pictures [B, T, 3, P, R] in [-1, 1], decoded after adding noise.

    The noise strength of each sample is uniform in [0, history_noise], in standard deviations of the latents; `scale`
    is the scaling factor that gives latents a standard deviation of 1.
    """
    size, frames = latents_btchw.shape[:2]
    strength_b1111 = torch.rand((size, 1, 1, 1, 1), generator=generator) * history_noise
    noise = torch.randn(latents_btchw.shape, generator=generator) / scale
    noisy = (latents_btchw + strength_b1111 * noise).flatten(0, 1).to(next(vae.parameters()).device)
    with torch.no_grad():
        decoded = [cast("Any", vae).decode(part).sample for part in noisy.split(MAX_FRAMES_PER_CALL)]
    return torch.cat(decoded).float().clamp(-1, 1).unflatten(0, (size, frames))


def draw_anchors(latents_btchw: Tensor, rng: np.random.Generator) -> Tensor:
    """One random frame of each sample, [B, 1, C, H, W]."""
    size, frames = latents_btchw.shape[:2]
    indices = torch.from_numpy(rng.integers(frames, size=size))
    return latents_btchw[torch.arange(size), indices].unsqueeze(1)


def image_tokens(
    image_encoder: CLIPVisionModelWithProjection,
    expander: TokenExpander,
    pictures_b3pr: Tensor,
    dropout: float,
    rng: np.random.Generator,
) -> Tensor:
    """Tokens [B, K, width] of anchor pictures in [-1, 1]; a dropped anchor is replaced by mid-grey, as in guidance."""
    tokens: Tensor = expander(anchor_embeddings(image_encoder, pictures_b3pr, dropout, rng))
    return tokens


def anchor_embeddings(
    image_encoder: CLIPVisionModelWithProjection, pictures_b3pr: Tensor, dropout: float, rng: np.random.Generator
) -> Tensor:
    """Embeddings [B, I] of anchor pictures in [-1, 1], float32, without gradients; dropped ones are mid-grey."""
    kept = torch.from_numpy(rng.random(len(pictures_b3pr)) >= dropout).view(-1, 1, 1, 1).to(pictures_b3pr.device)
    with torch.no_grad():
        return ClipImageEncoder(image_encoder)(pictures_b3pr * kept).float()
