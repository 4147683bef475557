"""The engine port for I2VGen-XL (Zhang et al. 2023, arXiv 2311.04145).

Shapes: F frames, C latent channels, H, W latent rows and columns, P, R picture rows and columns.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from core.model.engines.i2vgen_xl.sampling import posterior_drawn_from, text_states
from core.model.pipelines.image_windows import ImageWindowEngine
from core.model.pipelines.window_engine import Window, WindowRequest
from core.service.domain.engine import OnStep
from core.service.domain.prompt_schedule import prompt_at


class I2vgenXlEngine(ImageWindowEngine):
    """Windows of diffusers' I2VGenXLPipeline. Its UNet reads one text per window, so a new prompt acts at once."""

    def make_window(self, request: WindowRequest, on_step: OnStep) -> Window:
        """Denoise the next window. Raises what `on_step` raises, and NotFinite."""
        with posterior_drawn_from(self.pipeline.vae, request.generator):
            return super().make_window(request, on_step)

    def arguments(self, request: WindowRequest) -> Mapping[str, Any]:
        """Texts, guidance and micro-conditioning."""
        spec = request.spec
        return {
            "prompt_embeds": text_states(self.pipeline, prompt_at(spec, request.first_frame), self.torch_device),
            "negative_prompt_embeds": text_states(self.pipeline, spec.negative_prompt, self.torch_device),
            "guidance_scale": spec.guidance_scale,
            "target_fps": self.preset.conditioning_fps,
        }

    def decode_latents(self, latents: Tensor) -> Tensor:
        """[1, C, F, H, W] -> [1, 3, F, P, R]."""
        pictures: Tensor = self.pipeline.decode_latents(latents, decode_chunk_size=self.preset.decode_chunk_size)
        return pictures
