"""Loads the engine `i2vgen_xl` from a weights folder in the layout of diffusers' I2VGenXLPipeline."""

from typing import Any

from diffusers.pipelines.deprecated.i2vgen_xl.pipeline_i2vgen_xl import I2VGenXLPipeline

from core.model.engines.i2vgen_xl.engine import I2vgenXlEngine
from core.model.engines.i2vgen_xl.preset import I2vgenXlPreset
from core.model.pipelines.image_video_loading import PIPELINE_MULTIPLE, load_image_video_model
from core.service.engines.load_context import LoadContext


def load_engine_of(context: LoadContext[I2vgenXlPreset], device: str | None = None) -> I2vgenXlEngine:
    """The engine of a preset. Raises PresetError naming what is wrong.

    `device` None: CUDA if there is one, else CPU.
    """
    return I2vgenXlEngine(load_image_video_model(context, I2VGenXLPipeline, multiple_of, device))


def multiple_of(pipeline: Any) -> int:
    """Pixels of a latent pixel: the UNet restores sides that it halved unevenly."""
    return max(PIPELINE_MULTIPLE, pipeline.vae_scale_factor)
