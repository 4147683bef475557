"""The registry's entry of the engine `cogvideox`. Torch-free: only `load` imports torch."""

from pydantic import Field

from core.model.engines.cogvideox.preset import CogVideoXPreset
from core.quick_imports import quick_imports
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition, Parameters
from core.service.engines.load_context import LoadContext


class CogVideoXParameters(Parameters):
    """`parameters` of a request."""

    strength: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="How far a video that is made from an input `video` may go from it: the share of the steps that are"
        " done, at least one. It acts on such videos only.",
    )


def _load(context: LoadContext[CogVideoXPreset]) -> Engine:
    with quick_imports():
        from core.model.engines.cogvideox.loading import load_engine_of

    return load_engine_of(context)


COGVIDEOX = EngineDefinition("cogvideox", CogVideoXPreset, _load, CogVideoXParameters)
