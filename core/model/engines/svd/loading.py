"""Loads the engine `svd` from a weights folder in the layout of diffusers' StableVideoDiffusionPipeline."""

from typing import Any

from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline

from core.model.engines.svd.engine import SvdEngine
from core.model.engines.svd.preset import SvdPreset
from core.model.pipelines.image_video_loading import PIPELINE_MULTIPLE, load_image_video_model
from core.service.engines.load_context import LoadContext


def load_engine_of(context: LoadContext[SvdPreset], device: str | None = None) -> SvdEngine:
    """The engine of a preset. Raises PresetError naming what is wrong.

    `device` None: CUDA if there is one, else CPU.
    """
    return SvdEngine(load_image_video_model(context, StableVideoDiffusionPipeline, multiple_of, device))


def multiple_of(pipeline: Any) -> int:
    """Pixels of the UNet's coarsest cell: it cannot restore sides that it halved unevenly."""
    cell = pipeline.vae_scale_factor * 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
    return max(PIPELINE_MULTIPLE, cell)
