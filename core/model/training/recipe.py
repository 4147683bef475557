"""A training recipe, read from a TOML file: networks, data, and how each stage trains."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from core.model.training.clips.clips_data import ClipsData
from core.model.training.loop.plan import Count, Plan
from core.model.training.stage_names import (
    BEFORE_DISTILLATION,
    CLIPS_STAGES,
    DISTILLATION_STAGES,
    IMAGE_STAGES,
    MEMORY_STAGES,
    STAGES,
    WITH_DROPOUTS,
    continued_stage,
)
from core.model.training.stages.diffusion import TRAIN_STEPS
from core.model.training.stages.distillation import StepsGrid, TeacherKind
from core.model.training.stages.memory import Dropouts

_SHIPPED = Path(__file__).parent / "recipes"
_STRICT = ConfigDict(extra="forbid")
Width = Annotated[int, Field(gt=0, multiple_of=8)]
"""Channels of a level: group norms have groups of eight."""
Channels = Annotated[tuple[Width, ...], Field(min_length=4, max_length=4)]
"""Channels of the four levels of an autoencoder with downsampling factor 8, or of its UNet."""


class RecipeError(ValueError):
    """The recipe cannot be used; the message says which entry and why."""


@dataclass(frozen=True)
class FewSteps:
    """Progressive distillation: the student's steps, and the teacher's, a multiple of them."""

    __pydantic_config__ = _STRICT

    steps: Count
    teacher_steps: Count
    teacher: TeacherKind = "distilled"
    """"distilled": the student of the stage before, unguided; "guided": the undistilled networks, which cost twice."""


@dataclass(frozen=True)
class StageRecipe:
    """One stage: batch size per process, the loop's plan, and what only memory and distillation stages have."""

    __pydantic_config__ = _STRICT

    batch: Count
    plan: Plan
    dropouts: Dropouts | None = None
    rank: Count | None = None
    """Of a distillation stage's adapter; that of a *_steps stage is the one of the stage it continues."""
    few_steps: FewSteps | None = None
    """Of a *_steps stage."""


@dataclass(frozen=True)
class SpritesNetworks:
    """Networks built with these widths, every stage trained from scratch."""

    __pydantic_config__ = _STRICT

    source: Literal["sprites"]
    vae_channels: Channels
    unet_channels: Channels
    picture_channels: Annotated[tuple[Count, ...], Field(min_length=4, max_length=4)]
    image_tokens: Count
    refiner_channels: Channels


@dataclass(frozen=True)
class PresetNetworks:
    """Networks of an installed preset, or of a folder with preset.json, whose memories are trained."""

    __pydantic_config__ = _STRICT

    source: Literal["preset"]
    preset: str
    memory: Literal["new", "pretrained"] = "new"
    """"new": zero-initialised memories on the original base; "pretrained": continue from the preset's memories."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass instead of storing them: far less memory, a third more time."""


@dataclass(frozen=True)
class ImageNetworks:
    """Image networks of the sprites world: autoencoder and text encoder of a preset, and its video UNet as a start."""

    __pydantic_config__ = _STRICT

    source: Literal["image"]
    preset: str


@dataclass(frozen=True)
class SpritesData:
    """The synthetic world: numbers of clips of 32 frames, of single frames, and of clip pairs for the refiner."""

    __pydantic_config__ = _STRICT

    source: Literal["sprites"]
    clips: Annotated[int, Field(ge=2)]
    pictures: Annotated[int, Field(ge=2)]
    """Single frames. Half of them are frame 0 of a scene, whose caption determines all positions."""
    two_sprites_share: Annotated[float, Field(ge=0, le=1)]
    """Share of clips and pictures with two objects: more than in evaluation, as they are harder."""
    refiner_clips: Annotated[int, Field(ge=2)]


@dataclass(frozen=True)
class PictureData:
    """Single frames of the synthetic world, each in every colour of one of its objects."""

    __pydantic_config__ = _STRICT

    source: Literal["pictures"]
    pictures: Annotated[int, Field(ge=2)]
    two_sprites_share: Annotated[float, Field(ge=0, le=1)]
    """Share of frames with two objects: more than in evaluation, as they are harder."""


Networks = SpritesNetworks | PresetNetworks | ImageNetworks
Data = SpritesData | ClipsData | PictureData


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a preset's weights, except the machine it is trained on."""

    __pydantic_config__ = _STRICT

    name: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    networks: Annotated[Networks, Field(discriminator="source")]
    data: Annotated[Data, Field(discriminator="source")]
    stages: dict[str, StageRecipe]

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Its stages in training order."""
        return tuple(name for name in STAGES if name in self.stages)

    def pinned(self, stage: str) -> dict[str, int | str]:
        """The entries that, beside the plan, determine the data of each step; a resumed run must not change them."""
        entry = self.stages[stage]
        pinned: dict[str, int | str] = {"seed": self.seed, "batch": entry.batch}
        if entry.rank is not None:
            pinned["rank"] = entry.rank
        few_steps = {} if entry.few_steps is None else asdict(entry.few_steps)
        return pinned | {f"few_steps.{name}": value for name, value in few_steps.items()}

    def on_clips(self, folder: Path) -> Recipe:
        """The same recipe with another folder of clips. Raises RecipeError."""
        if not isinstance(self.data, ClipsData):
            raise RecipeError(f"--clips: recipe {self.name!r} trains on synthetic data, not on a folder of clips")
        return replace(self, data=replace(self.data, folder=folder))

    def smoke(self) -> Recipe:
        """The same recipe at toy sizes with two steps per stage: shows in seconds that every stage runs.

        Networks of a preset keep their sizes; of a folder of clips the first few are used.
        """
        tiny = {
            name: replace(stage, batch=2, plan=replace(stage.plan, steps=2, accumulate=1))
            for name, stage in self.stages.items()
        }
        return replace(self, networks=_tiny_networks(self.networks), data=_few_clips(self.data), stages=tiny)


def _tiny_networks(networks: Networks) -> Networks:
    if not isinstance(networks, SpritesNetworks):
        return networks
    return replace(
        networks,
        vae_channels=(8, 8, 8, 8),
        unet_channels=(16, 16, 16, 16),
        image_tokens=2,
        refiner_channels=(16, 16, 16, 16),
    )


def _few_clips(data: Data) -> Data:
    if isinstance(data, ClipsData):
        return replace(data, most_clips=4)
    if isinstance(data, PictureData):
        return replace(data, pictures=4)
    return replace(data, clips=2, pictures=2, refiner_clips=2)


def load_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name ("sprites") or any recipe by path. Raises RecipeError.

    A relative folder of clips is relative to the recipe's folder; in a shipped recipe, to the working directory.
    """
    path = _SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"no recipe {name_or_path!r}: pass a path, or one of the shipped names: {_shipped_names()}")
    try:
        recipe = parse_recipe(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, RecipeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    if isinstance(recipe.data, ClipsData) and path.parent != _SHIPPED:
        return replace(recipe, data=replace(recipe.data, folder=path.parent / recipe.data.folder))
    return recipe


def _shipped_names() -> str:
    return ", ".join(sorted(file.stem for file in _SHIPPED.glob("*.toml")))


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """Build a recipe from parsed TOML. Raises RecipeError for unknown, missing or misplaced entries."""
    stages = {name: _stage_entry(entry) for name, entry in dict(content.get("stages", {})).items()}
    try:
        recipe = TypeAdapter(Recipe).validate_python({**content, "stages": stages})
    except ValidationError as error:
        details = [f"{_entry_name(detail['loc'])}: {detail['msg']}" for detail in error.errors()]
        raise RecipeError("; ".join(details)) from error
    _check_sources(recipe)
    _check_stages(recipe)
    return recipe


def _stage_entry(entry: Any) -> Any:
    """A stage's table as StageRecipe has it: in the file the plan's entries are beside batch and dropouts."""
    if not isinstance(entry, dict):
        return entry
    table = cast("dict[str, Any]", entry)
    own = {field.name for field in fields(StageRecipe)} - {"plan"}
    plan = {key: value for key, value in table.items() if key not in own}
    return {key: value for key, value in table.items() if key in own} | {"plan": plan}


def _entry_name(location: tuple[int | str, ...]) -> str:
    """networks.sprites.image_tokens -> [networks] image_tokens, as written in the file."""
    source = 1 if location[:1] in (("networks",), ("data",)) else None
    parts = [str(part) for index, part in enumerate(location) if index != source and part != "plan"] or ["the recipe"]
    table, entry = ".".join(parts[:-1]), parts[-1]
    return f"[{table}] {entry}" if table else entry


_DATA_OF = {"sprites": "sprites", "preset": "clips", "image": "pictures"}
"""Source of networks -> source of the data that they train on."""


def _check_sources(recipe: Recipe) -> None:
    if recipe.data.source != _DATA_OF[recipe.networks.source]:
        raise RecipeError(
            f'networks of source "{recipe.networks.source}" cannot train on data of source "{recipe.data.source}": '
            'use "sprites" for both, "preset" with "clips", or "image" with "pictures"'
        )


def _check_stages(recipe: Recipe) -> None:
    names, found = set(recipe.stages), ", ".join(recipe.stages) or "none"
    if recipe.networks.source == "sprites" and names - set(DISTILLATION_STAGES) != set(BEFORE_DISTILLATION):
        needed, optional = ", ".join(BEFORE_DISTILLATION), ", ".join(DISTILLATION_STAGES)
        raise RecipeError(f"stages must be exactly {needed}, and perhaps {optional}; found {found}")
    if recipe.networks.source == "preset" and (not names or not names <= set(CLIPS_STAGES)):
        raise RecipeError(f"stages on clips are {', '.join(CLIPS_STAGES[:-1])} and {CLIPS_STAGES[-1]}; found {found}")
    if recipe.networks.source == "image" and names != set(IMAGE_STAGES):
        raise RecipeError(f"stages must be exactly {', '.join(IMAGE_STAGES)}; found {found}")
    for name, stage in recipe.stages.items():
        if stage.dropouts is not None and name not in WITH_DROPOUTS:
            raise RecipeError(f"[stages.{name}] dropouts: only {', '.join(WITH_DROPOUTS)} have them")
        generates = recipe.networks.source == "sprites" and name in MEMORY_STAGES
        if stage.dropouts is not None and stage.dropouts.generated_past and not generates:
            raise RecipeError(f"[stages.{name}.dropouts] generated_past: only cam and apm of sprites have it")
        _check_distillation(recipe, name, stage)


def _check_distillation(recipe: Recipe, name: str, stage: StageRecipe) -> None:
    """Raises RecipeError for entries of distillation that are missing, misplaced or contradict one another."""
    if (stage.rank is not None) != (name in DISTILLATION_STAGES):
        raise RecipeError(f"[stages.{name}] rank: {', '.join(DISTILLATION_STAGES)} need it, other stages have none")
    before = continued_stage(name)
    if (stage.few_steps is not None) != (before is not None):
        raise RecipeError(f"[stages.{name}] few_steps: window_steps and first_chunk_steps need it, others have none")
    if stage.few_steps is None or before is None:
        return
    try:
        StepsGrid.trailing(stage.few_steps.steps, stage.few_steps.teacher_steps, TRAIN_STEPS)
    except ValueError as error:
        raise RecipeError(f"[stages.{name}] few_steps: {error}; use a multiple of steps as teacher_steps") from error
    if before not in recipe.stages:
        raise RecipeError(f"[stages.{name}] continues {before}, which the recipe lacks")
    if recipe.stages[before].rank != stage.rank:
        raise RecipeError(f"[stages.{name}] rank: {before}, which it continues, has {recipe.stages[before].rank}")
