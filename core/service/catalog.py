"""The presets of a deployment, read torch-free from <presets_dir>/<name>/preset.json, and their token counts.

Knows names, sizes, limits and sampling defaults; does not load weights (core.model.presets does).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from tokenizers import Tokenizer

from core.service.errors import PresetError, UnknownModel
from core.service.schema import DEFAULT_PROFILE, Profile


class SamplingDefaults(BaseModel):
    """How one part of a video is sampled where a request says nothing. Keys that only the engine reads are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    num_inference_steps: int = Field(ge=1)
    guidance_scale: float = Field(ge=1.0)


class ProfileDefaults(BaseModel):
    """One named way to sample: `fast` for the service, `reference` as published."""

    model_config = ConfigDict(frozen=True, extra="allow")

    windows: SamplingDefaults
    first_chunk: SamplingDefaults


class Preset(BaseModel):
    """The torch-free facts of preset.json. Keys that only the engine reads are kept in `model_extra`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    description: str
    engine: str
    height: int = Field(gt=0, description="Pixels.")
    width: int = Field(gt=0, description="Pixels.")
    fps: int = Field(ge=1, description="Frames per second the model was trained at; the default playback rate.")
    max_prompt_tokens: int = Field(
        ge=1, description="Tokens of prompt that the text encoder reads, special tokens not counted."
    )
    negative_prompt: str = ""
    profiles: dict[Profile, ProfileDefaults]
    example_prompts: tuple[str, ...] = ()

    @field_validator("profiles")
    @classmethod
    def _has_the_default(cls, profiles: dict[Profile, ProfileDefaults]) -> dict[Profile, ProfileDefaults]:
        """Requests that name no profile take this one, so it must be there."""
        if DEFAULT_PROFILE not in profiles:
            raise ValueError(f"the profile {DEFAULT_PROFILE!r} is missing")
        return profiles


class PresetFolder:
    """One preset on disk. Raises PresetError where preset.json or the tokenizer is missing or wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def facts(self) -> Preset:
        file = self.path / "preset.json"
        try:
            return Preset.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise PresetError(f"{file}: {error.strerror}", fix="restore the preset's files") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise PresetError(f"{file}: {where}: {first['msg']}", fix="restore the preset's files") from error

    @cached_property
    def _tokenizer(self) -> Any:
        file = self.path / "tokenizer" / "tokenizer.json"
        if not file.is_file():
            raise PresetError(f"{file} is missing", fix="restore the preset's files")
        return Tokenizer.from_file(str(file))

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


class Catalog:
    """Presets by name. The folder is listed once; a preset is read when first asked for."""

    def __init__(self, presets_dir: Path) -> None:
        self._folders = {
            file.parent.name: PresetFolder(file.parent) for file in sorted(presets_dir.glob("*/preset.json"))
        }

    def names(self) -> list[str]:
        return list(self._folders)

    def get(self, name: str) -> PresetFolder:
        """Raises UnknownModel with the names that exist."""
        if name not in self._folders:
            known = ", ".join(self._folders) or "none installed"
            raise UnknownModel(f"there is no model named {name!r}", field="model", fix=f"use one of: {known}")
        return self._folders[name]
