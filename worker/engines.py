"""What a worker process computes with: the engine and the refiner of a preset, each loaded when it is needed.

Finds them by name in the registries, so that nothing here imports torch before a process needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.engine import Engine, LongWork, unannounced
from core.service.domain.errors import PresetError
from core.service.domain.refiner import RefineEngine
from core.service.domain.schema import Lane
from core.service.engines.refiner import REFINERS
from core.service.redis.queue import queue_of_lane
from core.service.settings import Settings
from worker.runtime.services import Activity, NoActivity

Loaded = TypeVar("Loaded", Engine, RefineEngine)
Install = Callable[[PresetFolder], None]
"""Ensures that a preset's weights are installed before they are read."""


@dataclass(frozen=True)
class Engines:
    """The engines of one process. `load_refiner` loads at its first call and returns the same refiner from then on."""

    model: str
    engine: Engine | None = None
    load_refiner: Callable[[], RefineEngine] | None = None
    device: str = "cpu"

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes that this process serves."""
        generate = (Lane.GENERATE,) if self.engine is not None else ()
        return generate + ((Lane.REFINE,) if self.load_refiner is not None else ())

    def queues(self) -> list[str]:
        """Names of the queues whose messages wake this process."""
        return [queue_of_lane(lane, self.model) for lane in self.lanes]


def load_engines(
    kind: Literal["both", "generate", "refine"],
    settings: Settings,
    model: str,
    install: Install = PresetFolder.require_installed,
    activity: Activity | None = None,
) -> Engines:
    """Loads what a process of this kind needs at once; `both` loads its refiner for the first task that needs it.

    `activity` is told of work that takes long and has no steps, now and within tasks. Raises UnknownModel, PresetError,
    or what the engine's loader raises.
    """
    long_work = (activity or NoActivity()).loading

    @cache
    def refiner() -> RefineEngine:
        with long_work(f"loading the refiner of {model}"):
            return load_refiner(settings, model, install, long_work)

    if kind == "refine":
        return Engines(model, None, refiner, refiner().device)
    engine = load_engine(settings, model, install, long_work)
    refines = kind == "both" and Catalog(settings).get(model).preset.refiner is not None
    if refines:
        fetch_refiner(settings, model)
    return Engines(model, engine, refiner if refines else None, engine.device)


def load_engine(
    settings: Settings,
    model: str,
    install: Install = PresetFolder.require_installed,
    long_work: LongWork = unannounced,
) -> Engine:
    """The engine of a preset, warmed up. Raises UnknownModel, PresetError, or what its loader raises.

    `install` ensures that its weights are installed; `long_work` surrounds what the engine loads or compiles.
    """
    folder = Catalog(settings).get(model)
    definition = folder.engine
    install(folder)
    engine = _checked(definition.load(folder.engine_context(long_work)), Engine, f"the engine {definition.name}")
    engine.warm_up()
    return engine


def fetch_refiner(settings: Settings, model: str) -> None:
    """Download a refiner that is not in the weights folder before any task waits for it."""
    refiner = Catalog(settings).get(model).preset.refiner
    if refiner is not None:
        REFINERS.get(refiner.kind).fetch(refiner)


def load_refiner(
    settings: Settings,
    model: str,
    install: Install = PresetFolder.require_installed,
    long_work: LongWork = unannounced,
) -> RefineEngine:
    """The refiner of a preset, warmed up; see `load_engine`."""
    folder = Catalog(settings).get(model)
    refiner = folder.preset.refiner
    if refiner is None:
        raise PresetError(f"{model} has no refiner", fix="start the worker with --kind generate")
    install(folder)
    folder.require_refiner()
    definition = REFINERS.get(refiner.kind)
    loaded = _checked(definition.load(folder.refiner_context(long_work)), RefineEngine, f"the refiner {refiner.kind}")
    loaded.warm_up()
    return loaded


def _checked(loaded: object, kind: type[Loaded], name: str) -> Loaded:
    """`loaded`, if it is one. Third parties write loaders."""
    if not isinstance(loaded, kind):
        message = f"{name} cannot be used: its `load` returned {type(loaded).__name__}, which is no {kind.__name__}"
        raise PresetError(message, fix="repair or uninstall its package")
    return loaded
