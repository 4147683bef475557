"""The engine port for Stable Video Diffusion (Blattmann et al. 2023, arXiv 2311.15127).

Shapes: F frames, C latent channels, H, W latent rows and columns, P, R picture rows and columns.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from core.model.engines.svd.preset import SvdParameters
from core.model.pipelines.image_windows import ImageWindowEngine
from core.model.pipelines.window_engine import WindowRequest

MIN_GUIDANCE = 1.0
"""Of a window's first frame; guidance rises linearly to guidance_scale at its last."""


class SvdEngine(ImageWindowEngine):
    """Windows of diffusers' StableVideoDiffusionPipeline."""

    def arguments(self, request: WindowRequest) -> Mapping[str, Any]:
        """Micro-conditioning and guidance."""
        parameters = SvdParameters.model_validate(request.spec.parameters)
        return {
            "fps": self.preset.conditioning_fps,
            "motion_bucket_id": parameters.motion_bucket_id,
            "noise_aug_strength": parameters.noise_aug_strength,
            "min_guidance_scale": MIN_GUIDANCE,
            "max_guidance_scale": request.spec.guidance_scale,
        }

    def decode_latents(self, latents: Tensor) -> Tensor:
        """[1, F, C, H, W] -> [1, 3, F, P, R], with the temporal decoder in parts of a fixed number of frames."""
        pictures: Tensor = self.pipeline.decode_latents(latents, latents.shape[1], self.preset.decode_chunk_size)
        return pictures
