"""The `refiner` block of a preset, refiner definitions and their registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from core.service.domain.refiner import RefineEngine
from core.service.engines.load_context import LoadContext
from core.service.engines.registry import Registry, require_subclass

REFINER_FOLDER = "refiner"
"""The refiner's networks in a weights folder."""
DEFAULT_REFINER = "sdedit"


class RefinerPreset(BaseModel):
    """The `refiner` block of preset.json: defaults and limits of requests. Refiners add keys of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(default=DEFAULT_REFINER, description="Name of the refiner.")
    height: int = Field(gt=0, multiple_of=8, description="Pixels, if a request names no size.")
    width: int = Field(gt=0, multiple_of=8, description="Pixels, if a request names no size.")
    max_side: int = Field(gt=0, multiple_of=8, description="Longest side that may be requested, pixels.")
    strength: float = Field(gt=0, le=1)
    num_inference_steps: int = Field(ge=1)
    guidance_scale: float = Field(ge=1.0)
    prompt_suffix: str = Field(default="", description="Appended to every prompt, as published.")

    @property
    def in_weights_folder(self) -> bool:
        """Whether its networks are in `refiner/` of the weights folder; otherwise `fetch` downloads them."""
        return True


RefinerPresetT = TypeVar("RefinerPresetT", bound=RefinerPreset)


def nothing_to_fetch(preset: RefinerPreset) -> None:
    """The `fetch` of refiners whose networks are in the weights folder."""
    del preset


@dataclass(frozen=True)
class RefinerDefinition(Generic[RefinerPresetT]):
    """A refiner: its entry in the registry. Importing its module must not import torch."""

    name: str
    preset: type[RefinerPresetT]
    """The model of its block in preset.json."""
    load: Callable[[LoadContext[RefinerPresetT]], RefineEngine]
    """Loads the networks; imports torch. Raises PresetError."""
    fetch: Callable[[RefinerPresetT], None] = field(default=nothing_to_fetch)
    """Downloads what is not in the weights folder, before a job needs it. Logs failures instead of raising."""

    def __post_init__(self) -> None:
        require_subclass("preset", self.preset, RefinerPreset)


REFINERS: Registry[RefinerDefinition[Any]] = Registry(
    "refiner",
    RefinerDefinition,
    {
        DEFAULT_REFINER: "core.model.refinement.definition:SDEDIT",
        "fake": "core.service.testing.definitions:FAKE_REFINER",
    },
)
"""Entry-point group `longtake.refiners`."""
