"""Pictures <-> latents with diffusers' AutoencoderKL, many frames per call.

Knows no sampler and no video length. Pixels are float; uint8 is made once, at the engine's edge.

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
    """Frames of so many pixels that go through the autoencoder together: 16 up to 256x256, two at 720x720.

    Its memory follows the pixels of a call, not those of a frame.
    """
    return max(1, min(MAX_FRAMES_PER_CALL, _MAX_PIXELS_PER_CALL // (height * width)))


def use_tiles(vae: AutoencoderKL, side: int) -> None:
    """From now on pictures larger than `side` pixels each way go through the autoencoder in tiles that overlap.

    Memory is then that of a tile. diffusers' own tiling, whose pictures differ a little: a tile is normalised and
    attended to by itself, and overlaps are cross-faded.
    """
    vae.enable_tiling()
    seams = cast(Any, vae)  # plain attributes that diffusers sets in its constructor
    seams.tile_sample_min_size = side
    seams.tile_latent_min_size = side // downsampling(vae)


def decode_frames(vae: AutoencoderKL, latents_CFHW: Tensor) -> Tensor:
    """Latents [C, F, H, W] as sampled -> pictures [F, 3, P, R] in [0, 1], float32; NaN where it is not finite."""
    # Times the reciprocal, as published: dividing rounds differently.
    scaled_FCHW = latents_CFHW.transpose(0, 1).to(vae.dtype) * (1 / scaling_factor(vae))
    height, width = (downsampling(vae) * side for side in latents_CFHW.shape[-2:])
    decoded = [_decode(vae, part) for part in scaled_FCHW.split(frames_per_call(height, width))]
    return clamped(torch.cat(decoded).float() * 0.5 + 0.5)


def _decode(vae: AutoencoderKL, scaled_FCHW: Tensor) -> Tensor:
    decoded: Tensor = cast(Any, vae).decode(scaled_FCHW, return_dict=False)[0]
    return decoded


def encode_frames(vae: AutoencoderKL, pictures_F3PR: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Pictures [F, 3, P, R] in [-1, 1] -> latents [C, F, H, W]; a posterior sample with a generator, else its mean."""
    height, width = pictures_F3PR.shape[-2:]
    parts = pictures_F3PR.to(vae.dtype).split(frames_per_call(height, width))
    encoded = [_encode(vae, part, generator) for part in parts]
    return torch.cat(encoded).transpose(0, 1) * scaling_factor(vae)


def _encode(vae: AutoencoderKL, pictures_F3PR: Tensor, generator: torch.Generator | None) -> Tensor:
    posterior = cast(Any, vae).encode(pictures_F3PR, return_dict=False)[0]
    latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
    return latents


def scaling_factor(vae: AutoencoderKL) -> float:
    """Factor that gives latents a deviation near 1."""
    factor: float = cast(Any, vae.config).scaling_factor
    return factor


def downsampling(vae: AutoencoderKL) -> int:
    """Pixels per latent pixel, each way (8 for four levels)."""
    widths: tuple[int, ...] = cast(Any, vae.config).block_out_channels
    return 2 ** (len(widths) - 1)


def reconstructed(vae: AutoencoderKL, pictures_F3PR: Tensor) -> NDArray[np.uint8]:
    """Pictures [F, 3, P, R] in [-1, 1] -> frames [F, P, R, 3] as the autoencoder shows them."""
    return to_uint8(decode_frames(vae, encode_frames(vae, pictures_F3PR.to(vae.device))))


def to_pictures(frames_FPR3: NDArray[np.uint8]) -> Tensor:
    """uint8 [F, P, R, 3] -> pictures [F, 3, P, R] in [-1, 1], float32, channels last in memory as the frames have them.

    A network rounds the last bits otherwise where they lie otherwise.
    """
    return torch.from_numpy(frames_FPR3).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def to_uint8(pictures_F3PR: Tensor, check: FiniteCheck | None = None, made_by: str = "decoder") -> NDArray[np.uint8]:
    """Pictures [F, 3, P, R] in [0, 1] -> uint8 [F, P, R, 3], rounded to nearest. The only way from floats to frames.

    The published code truncates 255 x, which darkens by half a level on average; rounding does not. Raises NotFinite
    where `check` has seen other numbers, or these pictures, of the stage `made_by`, have some: as uint8 NaN is black.
    """
    check = check or FiniteCheck("these pictures")
    check.see(made_by, pictures_F3PR)
    rounded = pictures_F3PR.permute(0, 2, 3, 1).mul(255.0).round().to(torch.uint8)
    frames: NDArray[np.uint8] = check.bring(rounded.contiguous()).numpy()
    return frames
