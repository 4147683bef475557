"""The registry's entry of the engine `svd`. Torch-free: only `load` imports torch."""

from core.model.engines.svd.preset import SvdParameters, SvdPreset
from core.quick_imports import quick_imports
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition
from core.service.engines.load_context import LoadContext
from core.service.engines.tokenizer import WordCounter


def _load(context: LoadContext[SvdPreset]) -> Engine:
    with quick_imports():
        from core.model.engines.svd.loading import load_engine_of

    return load_engine_of(context)


SVD = EngineDefinition("svd", SvdPreset, _load, SvdParameters, WordCounter)
