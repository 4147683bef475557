"""The registry's entry of the engine `streaming_t2v`. Torch-free: only `load` imports torch."""

from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.quick_imports import quick_imports
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition
from core.service.engines.load_context import LoadContext


def _load(context: LoadContext[StreamingPreset]) -> Engine:
    with quick_imports():
        from core.model.engines.streaming_t2v.loading import load_engine_of

    return load_engine_of(context)


STREAMING_T2V = EngineDefinition("streaming_t2v", StreamingPreset, _load)
