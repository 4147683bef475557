"""Pictures to latents and back with diffusers' AutoencoderKL, several frames per call.

Pictures are float; `to_uint8` converts them once, at the engine's output.

Shapes: C latent channels, F frames, H, W latent rows and columns, P, R pixel rows and columns.
"""

from typing import Any, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from core.model.sampling.finite import FiniteCheck, clamped

MAX_FRAMES_PER_CALL = 16
_MAX_PIXELS_PER_CALL = MAX_FRAMES_PER_CALL * 256 * 256


def frames_per_call(height: int, width: int) -> int:
    """Frames of this size that the VAE processes in one call: 16 up to 256x256, two at 720x720.

    The VAE's memory grows with the pixels of a call.
    """
    return max(1, min(MAX_FRAMES_PER_CALL, _MAX_PIXELS_PER_CALL // (height * width)))


def enable_tiling(vae: AutoencoderKL, side: int) -> None:
    """Turn on diffusers' VAE tiling for pictures larger than `side` pixels, which limits memory to that of a tile.

    Results differ slightly: norms and attention act within a tile, and overlaps are cross-faded.
    """
    vae.enable_tiling()
    untyped = cast(Any, vae)  # attributes that diffusers sets in its constructor
    untyped.tile_sample_min_size = side
    untyped.tile_latent_min_size = side // downsampling(vae)


def decode_frames(vae: AutoencoderKL, latents_CFHW: Tensor) -> Tensor:
    """Scaled latents [C, F, H, W] -> pictures [F, 3, P, R] in [0, 1], float32; NaN where the output is not finite."""
    # Multiplied by the reciprocal, as published: a division rounds differently.
    scaled_FCHW = latents_CFHW.transpose(0, 1).to(vae.dtype) * (1 / scaling_factor(vae))
    height, width = (downsampling(vae) * side for side in latents_CFHW.shape[-2:])
    decoded = [_decode(vae, part) for part in scaled_FCHW.split(frames_per_call(height, width))]
    return clamped(torch.cat(decoded).float() * 0.5 + 0.5)


def _decode(vae: AutoencoderKL, scaled_FCHW: Tensor) -> Tensor:
    decoded: Tensor = cast(Any, vae).decode(scaled_FCHW, return_dict=False)[0]
    return decoded


def encode_frames(vae: AutoencoderKL, pictures_F3PR: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Pictures [F, 3, P, R] in [-1, 1] -> scaled latents [C, F, H, W].

    A sample of the posterior if there is a `generator`, else its mean.
    """
    return encode_unscaled(vae, pictures_F3PR, generator) * scaling_factor(vae)


def encode_unscaled(vae: AutoencoderKL, pictures_F3PR: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """As `encode_frames`, without the scaling factor: what networks read that were trained on such latents."""
    height, width = pictures_F3PR.shape[-2:]
    parts = pictures_F3PR.to(vae.dtype).split(frames_per_call(height, width))
    encoded = [_encode(vae, part, generator) for part in parts]
    return torch.cat(encoded).transpose(0, 1)


def _encode(vae: AutoencoderKL, pictures_F3PR: Tensor, generator: torch.Generator | None) -> Tensor:
    posterior = cast(Any, vae).encode(pictures_F3PR, return_dict=False)[0]
    latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
    return latents


def scaling_factor(vae: AutoencoderKL) -> float:
    """diffusers' `scaling_factor`, which gives latents a standard deviation near 1."""
    factor: float = cast(Any, vae.config).scaling_factor
    return factor


def downsampling(vae: AutoencoderKL) -> int:
    """Pixels per latent pixel along one axis (8 for four levels)."""
    widths: tuple[int, ...] = cast(Any, vae.config).block_out_channels
    return 2 ** (len(widths) - 1)


def reconstructed(vae: AutoencoderKL, pictures_F3PR: Tensor) -> NDArray[np.uint8]:
    """Pictures [F, 3, P, R] in [-1, 1], encoded and decoded -> uint8 frames [F, P, R, 3]."""
    return to_uint8(decode_frames(vae, encode_frames(vae, pictures_F3PR.to(vae.device))))


def to_pictures(frames_FPR3: NDArray[np.uint8]) -> Tensor:
    """uint8 [F, P, R, 3] -> pictures [F, 3, P, R] in [-1, 1], float32, in channels-last memory format.

    The memory format selects kernels and so the last bits of a network's output.
    """
    return torch.from_numpy(frames_FPR3).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def to_uint8(pictures_F3PR: Tensor, check: FiniteCheck | None = None, made_by: str = "decoder") -> NDArray[np.uint8]:
    """Pictures [F, 3, P, R] in [0, 1] -> uint8 [F, P, R, 3], rounded to nearest.

    The published code truncates 255 x, which darkens by half a level on average. Raises NotFinite if `check`, or these
    pictures (the output of the stage `made_by`), hold NaN or infinity, which would be black.
    """
    check = check or FiniteCheck("these pictures")
    check.add(made_by, pictures_F3PR)
    rounded = pictures_F3PR.permute(0, 2, 3, 1).mul(255.0).round().to(torch.uint8)
    frames: NDArray[np.uint8] = check.to_cpu(rounded.contiguous()).numpy()
    return frames
