"""The registry's entry of the engine `sparsectrl`. Torch-free: only `load` imports torch."""

from core.model.engines.sparsectrl.preset import SparseCtrlParameters, SparseCtrlPreset
from core.quick_imports import quick_imports
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition
from core.service.engines.load_context import LoadContext


def _load(context: LoadContext[SparseCtrlPreset]) -> Engine:
    with quick_imports():
        from core.model.engines.sparsectrl.loading import load_engine_of

    return load_engine_of(context)


SPARSECTRL = EngineDefinition("sparsectrl", SparseCtrlPreset, _load, parameters=SparseCtrlParameters)
