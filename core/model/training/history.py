"""What a window remembers, made of a clip's latents: pictures of the past, and an anchor's tokens.

At inference the past is what the autoencoder decoded, so in training it is decoded as well. Knows no clips and no UNet.

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
from core.model.networks.picture_preprocessing import preprocess_picture
from core.model.sampling.vae import MAX_FRAMES_PER_CALL


def past_pictures(
    vae: nn.Module, latents_btchw: Tensor, scale: float, history_noise: float, generator: torch.Generator
) -> Tensor:
    """Latents as the autoencoder has them -> pictures [B, T, 3, P, R] in [-1, 1], decoded from slightly wrong latents.

    Each sample's noise is of a strength drawn from [0, history_noise] deviations; `scale` times latents has one.
    """
    size, frames = latents_btchw.shape[:2]
    strength_b1111 = torch.rand((size, 1, 1, 1, 1), generator=generator) * history_noise
    noise = torch.randn(latents_btchw.shape, generator=generator) / scale
    spoiled = (latents_btchw + strength_b1111 * noise).flatten(0, 1).to(next(vae.parameters()).device)
    with torch.no_grad():
        decoded = [cast("Any", vae).decode(part).sample for part in spoiled.split(MAX_FRAMES_PER_CALL)]
    return torch.cat(decoded).float().clamp(-1, 1).unflatten(0, (size, frames))


def drawn_anchors(latents_btchw: Tensor, rng: np.random.Generator) -> Tensor:
    """One frame of each sample, [B, 1, C, H, W]."""
    size, frames = latents_btchw.shape[:2]
    places = torch.from_numpy(rng.integers(frames, size=size))
    return latents_btchw[torch.arange(size), places].unsqueeze(1)


def anchor_tokens(
    image_encoder: CLIPVisionModelWithProjection,
    expander: TokenExpander,
    pictures_b3pr: Tensor,
    dropout: float,
    rng: np.random.Generator,
) -> Tensor:
    """Tokens [B, K, width] of anchor pictures in [-1, 1]; a grey picture's where the anchor is dropped."""
    kept = torch.from_numpy(rng.random(len(pictures_b3pr)) >= dropout).view(-1, 1, 1, 1).to(pictures_b3pr.device)
    side: int = cast("Any", image_encoder.config).image_size
    with torch.no_grad():
        embeddings = cast(
            "Tensor",
            cast("Any", image_encoder)(pixel_values=preprocess_picture(pictures_b3pr * kept, side)).image_embeds,
        )
    tokens: Tensor = expander(embeddings.float())
    return tokens
