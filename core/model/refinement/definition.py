"""The registry's entry of the refiner `sdedit`. Torch-free: only `load` and `fetch` import torch."""

from core.model.refinement.preset import SdeditPreset
from core.quick_imports import quick_imports
from core.service.domain.refiner import RefineEngine
from core.service.engines.load_context import LoadContext
from core.service.engines.refiner import DEFAULT_REFINER, RefinerDefinition


def _load(context: LoadContext[SdeditPreset]) -> RefineEngine:
    with quick_imports():
        from core.model.refinement.loading import load_refiner_of

    return load_refiner_of(context)


def _fetch(preset: SdeditPreset) -> None:
    with quick_imports():
        from core.model.refinement.loading import fetch_refiner

    fetch_refiner(preset)


SDEDIT = RefinerDefinition(DEFAULT_REFINER, SdeditPreset, _load, _fetch)
