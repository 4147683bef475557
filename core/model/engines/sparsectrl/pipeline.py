"""The library's pipeline, conditioned on latents."""

from typing import Any

import torch
from diffusers.pipelines.animatediff.pipeline_animatediff_sparsectrl import AnimateDiffSparseControlNetPipeline
from torch import Tensor


class LatentConditionPipeline(AnimateDiffSparseControlNetPipeline):
    """`conditioning_frames` are scaled latents [1, C, F, H, W] instead of pictures.

    The library encodes pictures with a draw from torch's global generator, so that no seed repeats them, and each
    window would lose what decoding and encoding its first frame loses.
    """

    def prepare_image(self, image: Tensor, width: int, height: int, device: Any, dtype: torch.dtype) -> Tensor:
        """The latents, on the pipeline's device."""
        del width, height
        return image.to(device, dtype)
