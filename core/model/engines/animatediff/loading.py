"""Loads the engine `animatediff` from a weights folder.

It has unet/, vae/, text_encoder/, tokenizer/ and scheduler/ of Stable Diffusion 1.5, and motion_adapter/.
"""

from typing import Any

import torch
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline

from core.model.cores import usable_cores
from core.model.engines.animatediff.engine import AnimateDiffEngine
from core.model.engines.animatediff.preset import AnimateDiffPreset
from core.model.pipelines.animatediff import animatediff_parts
from core.model.pipelines.loading import Placement, load
from core.model.presets.fingerprint import pipeline_fingerprint
from core.model.sampling.device import select_device
from core.service.engines.load_context import LoadContext

_FRAMES_AT_ONCE, _PIXELS_AT_ONCE = 16, 4096
"""Frames that spatial layers take at once, and latent pixels that temporal ones do: less memory, the same results."""


def load_engine_of(context: LoadContext[AnimateDiffPreset], device: str | None = None) -> AnimateDiffEngine:
    """The engine of a preset. Raises PresetError naming what is missing. `device` None: CUDA if there is one."""
    preset, own = context.preset, select_device(device)
    torch.set_num_threads(context.torch_threads or usable_cores())
    placement = Placement(own, context.long_work, getattr(torch, preset.gpu_dtype), preset.offload)

    def make() -> Any:
        pipeline: Any = AnimateDiffPipeline(**animatediff_parts(context, placement.dtype))
        pipeline.enable_free_noise(preset.context_length, preset.context_stride)
        pipeline.enable_free_noise_split_inference(_PIXELS_AT_ONCE, _FRAMES_AT_ONCE)
        return pipeline

    return AnimateDiffEngine(load(preset.name, make, placement), preset, own, pipeline_fingerprint(context, own))
