"""Engines as the service knows them before any is loaded: their definitions and the registry. docs/engines.md says how
to write one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from pydantic import BaseModel, ConfigDict

from core.service.domain.engine import Engine
from core.service.engines import preset as presets
from core.service.engines.load_context import LoadContext
from core.service.engines.preset import Preset, PresetT
from core.service.engines.registry import Registry
from core.service.engines.tokenizer import FileTokenizer, PromptTokenizer


class Parameters(BaseModel):
    """Base of the model that validates a request's `parameters`; by itself: there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class EngineDefinition(Generic[PresetT]):
    """An engine: its entry in the registry. Importing its module must not import torch."""

    name: str
    preset: type[PresetT]
    """The model of its preset.json."""
    load: Callable[[LoadContext[PresetT]], Engine]
    """Loads the networks; imports torch. Raises PresetError."""
    parameters: type[Parameters] = Parameters
    """Fields that only this engine has: validates a request's `parameters`, which JobSpec.parameters keeps as JSON."""
    tokenizer: Callable[[Path], PromptTokenizer] = FileTokenizer
    """The tokenizer of a weights folder. Raises PresetError."""
    presets_dir: Path | None = None
    """A folder of presets that the engine's package brings: <presets_dir>/<name>/preset.json."""


ENGINES: Registry[EngineDefinition[Any]] = Registry(
    "engine",
    EngineDefinition,
    {
        "streaming_t2v": "core.model.engines.streaming_t2v.definition:STREAMING_T2V",
        "fake": "core.service.testing.definitions:FAKE_ENGINE",
    },
)
"""Entry-point group `longtake.engines`."""


def read_preset(folder: Path) -> Preset:
    """preset.json of a folder, as its engine's model. Raises PresetError naming the file and the key at fault."""

    def model_of(engine: str) -> type[Preset]:
        return ENGINES.get(engine).preset

    return presets.read_preset(folder, model_of)
