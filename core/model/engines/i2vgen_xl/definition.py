"""The registry's entry of the engine `i2vgen_xl`. Torch-free: only `load` imports torch."""

from core.model.engines.i2vgen_xl.preset import I2vgenXlPreset
from core.quick_imports import quick_imports
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition
from core.service.engines.load_context import LoadContext


def _load(context: LoadContext[I2vgenXlPreset]) -> Engine:
    with quick_imports():
        from core.model.engines.i2vgen_xl.loading import load_engine_of

    return load_engine_of(context)


I2VGEN_XL = EngineDefinition("i2vgen_xl", I2vgenXlPreset, _load)
