"""Engine definitions and their registry. docs/engines.md explains how to write an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, cast

from pydantic import BaseModel, ConfigDict

from core.service.domain.engine import Engine
from core.service.domain.errors import PresetError
from core.service.engines import preset as presets
from core.service.engines.load_context import LoadContext
from core.service.engines.preset import Preset, PresetT
from core.service.engines.registry import Registry, require_subclass
from core.service.engines.tokenizer import FileTokenizer, PromptTokenizer


class Parameters(BaseModel):
    """Base of the models that validate a request's `parameters`; itself: no parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class EngineDefinition(Generic[PresetT]):
    """An engine: its entry in the registry. Importing its module must not import torch.

    Raises TypeError for fields of a wrong type, and what pydantic raises if `parameters` has no JSON Schema.
    """

    name: str
    preset: type[PresetT]
    """The model of its preset.json."""
    load: Callable[[LoadContext[PresetT]], Engine]
    """Loads the networks; imports torch. Raises PresetError."""
    parameters: type[Parameters] = Parameters
    """Validates a request's `parameters`: fields of this engine only. JobSpec.parameters has them as JSON."""
    tokenizer: Callable[[Path], PromptTokenizer] = FileTokenizer
    """The tokenizer of a weights folder. Raises PresetError."""
    presets_dir: Path | None = None
    """Presets in the engine's package: <presets_dir>/<name>/preset.json."""

    def __post_init__(self) -> None:
        """Third parties write definitions: what is wrong is found here, and not when all models are listed."""
        require_subclass("preset", self.preset, Preset)
        require_subclass("parameters", self.parameters, Parameters)
        if not isinstance(cast("object", self.presets_dir), Path | None):
            raise TypeError("presets_dir is no pathlib.Path")
        self.parameters.model_json_schema()


ENGINES: Registry[EngineDefinition[Any]] = Registry(
    "engine",
    EngineDefinition,
    {
        "streaming_t2v": "core.model.engines.streaming_t2v.definition:STREAMING_T2V",
        "animatediff": "core.model.engines.animatediff.definition:ANIMATEDIFF",
        "sparsectrl": "core.model.engines.sparsectrl.definition:SPARSECTRL",
        "svd": "core.model.engines.svd.definition:SVD",
        "i2vgen_xl": "core.model.engines.i2vgen_xl.definition:I2VGEN_XL",
        "instruct_pix2pix": "core.model.engines.instruct_pix2pix.definition:INSTRUCT_PIX2PIX",
        "text2video_zero": "core.model.engines.text2video_zero.definition:TEXT2VIDEO_ZERO",
        "cogvideox": "core.model.engines.cogvideox.definition:COGVIDEOX",
        "fake": "core.service.testing.definitions:FAKE_ENGINE",
    },
)
"""Entry-point group `longtake.engines`."""


def read_preset(folder: Path) -> Preset:
    """preset.json of a folder, as its engine's model, whose properties have been computed once without an error.

    Raises PresetError naming the file and the key at fault.
    """

    def model_of(engine: str) -> type[Preset]:
        return ENGINES.get(engine).preset

    try:
        preset = presets.read_preset(folder, model_of)
        _ = preset.capabilities, preset.profile_defaults, preset.effective_limits
    except PresetError:
        raise
    except Exception as error:  # the boundary to others' packages, which may raise anything
        problem = f"{folder / 'preset.json'}: its engine cannot use it: {type(error).__name__}: {error}"
        raise PresetError(problem, fix="repair the engine's package") from error
    return preset
