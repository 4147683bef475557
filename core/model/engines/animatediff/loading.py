"""Loads the engine `animatediff` from a weights folder.

It has unet/, vae/, text_encoder/, tokenizer/ and scheduler/ of Stable Diffusion 1.5, and motion_adapter/.
"""

from typing import Any

from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline

from core.model.engines.animatediff.engine import AnimateDiffEngine
from core.model.engines.animatediff.preset import AnimateDiffPreset
from core.model.pipelines.animatediff import animatediff_parts
from core.model.pipelines.loading import load, prepare
from core.model.presets.fingerprint import pipeline_fingerprint
from core.service.engines.load_context import LoadContext

_FRAMES_AT_ONCE, _PIXELS_AT_ONCE = 16, 4096
"""Frames that spatial layers take at once, and latent pixels that temporal ones do: less memory, the same results."""


def load_engine_of(context: LoadContext[AnimateDiffPreset], device: str | None = None) -> AnimateDiffEngine:
    """The engine of a preset. Raises PresetError naming what is missing. `device` None: CUDA if there is one."""
    preset, placement = context.preset, prepare(context, device)

    def make() -> Any:
        pipeline: Any = AnimateDiffPipeline(**animatediff_parts(context, placement.dtype))
        pipeline.enable_free_noise(preset.context_length, preset.context_stride)
        pipeline.enable_free_noise_split_inference(_PIXELS_AT_ONCE, _FRAMES_AT_ONCE)
        return pipeline

    fingerprint = pipeline_fingerprint(context, placement.device)
    return AnimateDiffEngine(load(preset.name, make, placement), preset, placement.device, fingerprint)
