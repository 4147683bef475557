"""The registry's entry of the engine `instruct_pix2pix`. Torch-free: only `load` imports torch."""

from pydantic import Field

from core.model.engines.instruct_pix2pix.preset import InstructPix2PixPreset
from core.quick_imports import quick_imports
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition, Parameters
from core.service.engines.load_context import LoadContext


class InstructPix2PixParameters(Parameters):
    """`parameters` of a request."""

    image_guidance_scale: float = Field(
        default=1.5,
        ge=0.0,
        le=10.0,
        description="How strongly the input video is kept. 1 is a third faster than other values, and changes more.",
    )


def _load(context: LoadContext[InstructPix2PixPreset]) -> Engine:
    with quick_imports():
        from core.model.engines.instruct_pix2pix.loading import load_engine_of

    return load_engine_of(context)


INSTRUCT_PIX2PIX = EngineDefinition(
    "instruct_pix2pix", InstructPix2PixPreset, _load, parameters=InstructPix2PixParameters
)
