"""The registry's entry of the engine `animatediff`. Torch-free: only `load` imports torch."""

from core.model.engines.animatediff.preset import AnimateDiffParameters, AnimateDiffPreset
from core.quick_imports import quick_imports
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition
from core.service.engines.load_context import LoadContext


def _load(context: LoadContext[AnimateDiffPreset]) -> Engine:
    with quick_imports():
        from core.model.engines.animatediff.loading import load_engine_of

    return load_engine_of(context)


ANIMATEDIFF = EngineDefinition("animatediff", AnimateDiffPreset, _load, parameters=AnimateDiffParameters)
