"""Preview frames to the latents that the refiner works on, and refined latents to frames.

Frames are enlarged, encoded, and padded to a size that the network accepts; the padding is cropped before decoding.

Shapes: C latent channels, F frames, H, W latent rows and columns, P, R picture rows and columns.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from core.model.refinement.unet import nearest_latent_size
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.vae import decode_frames, downsampling, encode_frames, frames_per_call, to_pictures, to_uint8
from core.service.domain.engine import FramesTHWC
from core.service.domain.schema import RefineSpec


@dataclass(frozen=True)
class RefinerCodec:
    """Encodes and decodes with a refiner's VAE, which must be in evaluation mode."""

    vae: AutoencoderKL
    num_levels: int
    """Resolutions of the UNet."""
    vid2vid_resampling: bool

    def encode(
        self, frames_FPR3: FramesTHWC, refine: RefineSpec, device: torch.device, latents_device: torch.device
    ) -> Tensor:
        """Preview frames -> latents [1, C, F, H, W] at the refined size, padded, float32, on `latents_device`.

        Encoded on `device`, as the mean of the posterior. The published code samples the posterior; the noise added
        later is far stronger.
        """
        # A few frames at a time: all frames of a long video, enlarged, would not fit into memory.
        parts = np.array_split(frames_FPR3, -(-len(frames_FPR3) // frames_per_call(refine.height, refine.width)))
        pictures = (enlarged(part, refine.height, refine.width).to(device) for part in parts)
        latents_CFHW = torch.cat([encode_frames(self.vae, part).float().to(latents_device) for part in pictures], dim=1)
        height, width = latents_CFHW.shape[-2:]
        rows, columns = nearest_latent_size(height, width, self.num_levels, vid2vid=self.vid2vid_resampling)
        # Edge values on both sides: the picture stays centred, and attention sees no black bar.
        padding = (*_both_sides(columns - width), *_both_sides(rows - height))
        return functional.pad(latents_CFHW, padding, mode="replicate").unsqueeze(0)

    def decode(self, latents_1CFHW: Tensor, refine: RefineSpec, check: FiniteCheck | None = None) -> FramesTHWC:
        """Latents [1, C, F, H, W], padded -> frames at the refined size. Raises NotFinite, also for `check`."""
        factor = downsampling(self.vae)
        height, width = refine.height // factor, refine.width // factor
        top, left = ((padded - own) // 2 for padded, own in zip(latents_1CFHW.shape[-2:], (height, width), strict=True))
        cropped = latents_1CFHW[0, :, :, top : top + height, left : left + width]
        return to_uint8(decode_frames(self.vae, cropped), check)


def enlarged(frames_FPR3: FramesTHWC, height: int, width: int) -> Tensor:
    """Preview frames -> pictures [F, 3, height, width] in [-1, 1], bicubic as published."""
    pictures_F3PR = to_pictures(np.ascontiguousarray(frames_FPR3))
    size = (height, width)
    larger = functional.interpolate(pictures_F3PR, size=size, mode="bicubic", align_corners=False, antialias=True)
    return larger.clamp(-1, 1)


def _both_sides(missing: int) -> tuple[int, int]:
    return missing // 2, missing - missing // 2
