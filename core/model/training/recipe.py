"""A training recipe as data: sizes, data and the length of every stage, read from a TOML file.

Knows no network and no loop internals beyond the plan's fields.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from core.model.training.loop import Plan

STAGES = ("clip", "vae", "image", "video", "sight", "cam", "apm", "refiner")
"""In the order in which they build on one another."""

_SHIPPED = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """The recipe file cannot be used; the message says which entry and why."""


@dataclass(frozen=True)
class StageRecipe:
    """One stage: samples per step and the loop's plan."""

    batch: int
    plan: Plan


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a preset's weights, but for the machine it is trained on."""

    name: str
    seed: int
    clips: int
    vae_channels: tuple[int, ...]
    unet_channels: tuple[int, ...]
    picture_channels: tuple[int, ...]
    image_tokens: int
    refiner_channels: tuple[int, ...]
    refiner_clips: int
    stages: dict[str, StageRecipe]

    def smoke(self) -> Recipe:
        """The same recipe at toy sizes, two steps a stage: shows in seconds that every stage runs."""
        tiny = {name: StageRecipe(2, replace(stage.plan, steps=2)) for name, stage in self.stages.items()}
        return replace(
            self,
            clips=2,
            vae_channels=(8, 8, 8, 8),
            unet_channels=(16, 16, 16, 16),
            image_tokens=2,
            refiner_channels=(16, 16, 16, 16),
            refiner_clips=2,
            stages=tiny,
        )


def load_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name ("sprites") or any recipe by path. Raises RecipeError."""
    path = _SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in _SHIPPED.glob("*.toml")))
        raise RecipeError(f"no recipe {name_or_path!r}: give a path, or one of the shipped names: {shipped}")
    try:
        return parse_recipe(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: {error}") from error


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """Build a recipe from parsed TOML. Raises RecipeError for unknown, missing or misplaced entries."""
    stages = {
        name: _stage(name, cast("dict[str, Any]", entry)) for name, entry in dict(content.get("stages", {})).items()
    }
    if set(stages) != set(STAGES):
        raise RecipeError(f"stages must be exactly {', '.join(STAGES)}; found {', '.join(stages) or 'none'}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()} | {
        "stages": stages
    }
    _refuse_unknown("recipe", values, {field.name for field in fields(Recipe)})
    try:
        return Recipe(**values)
    except TypeError as error:
        raise RecipeError(str(error)) from error


def _stage(name: str, entry: dict[str, Any]) -> StageRecipe:
    _refuse_unknown(f"stage {name}", entry, {"batch"} | {field.name for field in fields(Plan)})
    try:
        return StageRecipe(int(entry["batch"]), Plan(**{key: value for key, value in entry.items() if key != "batch"}))
    except (KeyError, TypeError) as error:
        raise RecipeError(f"stage {name}: {error}") from error


def _refuse_unknown(where: str, entry: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(entry) - known)
    if unknown:
        raise RecipeError(f"{where}: unknown entries {', '.join(unknown)}; known are {', '.join(sorted(known))}")
