"""What a worker process computes with: the engine and the refiner of a preset, loaded by name, each when it is needed.

Knows the model half only by the name of a module, so that nothing here imports it (and with it torch) before a process
that computes needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

from core.service.admission.catalog import Catalog, Preset, PresetFolder
from core.service.domain.engine import Engine, LongWork, unannounced
from core.service.domain.errors import PresetError
from core.service.domain.refiner import RefineEngine
from core.service.domain.schema import DEFAULT_PROFILE, Lane
from core.service.redis.queue import queue_of_lane
from core.service.settings import Settings
from core.service.testing.fakes import FakeEngine, FakeRefineEngine
from worker.runtime.services import Activity, NoActivity

ENGINE_MODULES = {"streaming_t2v": "core.model.engines.streaming_t2v.loading"}
"""Where `load_engine` and `load_refiner` of an engine are."""

Install = Callable[[PresetFolder], None]
"""Sees to a preset's weights before they are read."""


@dataclass(frozen=True)
class Engines:
    """The engines of one process. `load_refiner` loads at its first call and gives the same refiner ever after."""

    model: str
    engine: Engine | None = None
    load_refiner: Callable[[], RefineEngine] | None = None
    device: str = "cpu"

    def queues(self) -> list[str]:
        """Names of the queues whose tasks can be done with them."""
        generate = [queue_of_lane(Lane.GENERATE, self.model)] if self.engine is not None else []
        return generate + ([queue_of_lane(Lane.REFINE, self.model)] if self.load_refiner is not None else [])


def load_engines(
    kind: Literal["both", "generate", "refine"],
    settings: Settings,
    model: str,
    install: Install = PresetFolder.require_installed,
    activity: Activity | None = None,
) -> Engines:
    """What a process of this kind needs at once is loaded; of `both` the refiner waits for its first task.

    `activity` hears of what takes long without steps: then, and within tasks later. Raises UnknownModel, PresetError,
    or what the model half raises.
    """
    long_work = (activity or NoActivity()).loading

    @cache
    def refiner() -> RefineEngine:
        with long_work(f"loading the refiner of {model}"):
            return load_refiner(settings, model, install, long_work)

    if kind == "refine":
        return Engines(model, None, refiner, _device(refiner()))
    engine = load_engine(settings, model, install, long_work)
    refines = kind == "both" and Catalog(settings).get(model).facts.refiner is not None
    if refines:
        fetch_refiner(settings, model)
    return Engines(model, engine, refiner if refines else None, _device(engine))


def _device(engine: Engine | RefineEngine) -> str:
    """Which device an engine runs on is not part of the port; those that have one tell it by this name."""
    return str(getattr(engine, "device", "cpu"))


def load_engine(
    settings: Settings,
    model: str,
    install: Install = PresetFolder.require_installed,
    long_work: LongWork = unannounced,
) -> Engine:
    """The engine of a preset, warmed up. Raises UnknownModel, PresetError, or what the model half raises.

    `install` sees to its weights before they are read; `long_work` stands around what the engine loads or compiles.
    A preset whose preset.json says `"engine": "fake"` is served by FakeEngine (core.service.testing.fakes), which
    draws a moving square: the whole path can be tried on a machine without torch. Its further keys: step_seconds.
    """
    folder = Catalog(settings).get(model)
    facts = folder.facts
    if facts.engine == "fake":
        steps = facts.profiles[DEFAULT_PROFILE].windows.num_inference_steps
        return FakeEngine(
            steps_per_chunk=steps, step_seconds=_step_seconds(facts), height=facts.height, width=facts.width
        )
    presets = _engine_module(folder)
    install(folder)
    engine = cast(
        Engine,
        presets.load_engine(
            folder.path,
            weights=folder.weights,
            first_chunk_source=facts.first_chunk_source,
            torch_threads=settings.torch_threads,
            torch_compile=settings.torch_compile,
            long_work=long_work,
        ),
    )
    engine.warm_up()
    return engine


def fetch_refiner(settings: Settings, model: str) -> None:
    """Bring a refiner that is named by its id to this machine before any task waits for it."""
    folder = Catalog(settings).get(model)
    if folder.facts.engine != "fake":
        _engine_module(folder).fetch_refiner(folder.path)


def load_refiner(
    settings: Settings,
    model: str,
    install: Install = PresetFolder.require_installed,
    long_work: LongWork = unannounced,
) -> RefineEngine:
    """The refiner of a preset, warmed up; see `load_engine`."""
    folder = Catalog(settings).get(model)
    facts = folder.facts
    if facts.refiner is None:
        raise PresetError(f"{model} has no refiner", fix="start the worker with --kind generate")
    if facts.engine == "fake":
        return FakeRefineEngine(step_seconds=_step_seconds(facts))
    presets = _engine_module(folder)
    install(folder)
    folder.require_refiner()
    refiner = cast(
        RefineEngine,
        presets.load_refiner(
            folder.path,
            weights=folder.weights,
            torch_threads=settings.torch_threads,
            torch_compile=settings.torch_compile,
            long_work=long_work,
        ),
    )
    refiner.warm_up()
    return refiner


def _step_seconds(facts: Preset) -> float:
    return float((facts.model_extra or {}).get("step_seconds", 0.0))


def _engine_module(folder: PresetFolder) -> Any:
    """The module that loads the preset's engines, found by name. `Any`: nothing here may import it."""
    if folder.facts.engine not in ENGINE_MODULES:
        known = ", ".join(("fake", *ENGINE_MODULES))
        raise PresetError(
            f"{folder.path.name}: there is no engine named {folder.facts.engine!r}", fix=f"use one of: {known}"
        )
    return importlib.import_module(ENGINE_MODULES[folder.facts.engine])
