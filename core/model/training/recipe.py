"""A training recipe as data, read from a TOML file: networks, clips, and how each stage trains.

Knows no network and no loop internals beyond the plan's fields.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from core.model.training.loop import Count, Plan
from core.model.training.memory_stage import PAST, WINDOW, Dropouts

STAGES = ("clip", "vae", "image", "video", "sight", "cam", "apm", "decoder", "refiner")
"""In the order in which they build on one another."""
NEEDS: dict[str, tuple[str, ...]] = {
    "clip": (),
    "vae": (),
    "image": ("clip", "vae"),
    "video": ("clip", "vae", "image"),
    "sight": ("vae", "video"),
    "cam": ("clip", "vae", "video", "sight"),
    "apm": ("clip", "vae", "video", "cam"),
    "decoder": ("vae",),
    "refiner": ("clip", "vae"),
}
"""The stages whose weights each builds on, of those that a recipe has."""
MEMORY_STAGES = ("cam", "apm")
"""Those that train on clips of one's own, and that have dropouts."""

_SHIPPED = Path(__file__).parent / "recipes"
_STRICT = ConfigDict(extra="forbid")
Width = Annotated[int, Field(gt=0, multiple_of=8)]
"""Channels of a level: norms have groups of eight."""
Channels = Annotated[tuple[Width, ...], Field(min_length=4, max_length=4)]
"""Of the four levels that autoencoders of factor 8, and their UNets, have here."""
Size = Annotated[int, Field(gt=0, multiple_of=8)]


class RecipeError(ValueError):
    """The recipe file cannot be used; the message says which entry and why."""


@dataclass(frozen=True)
class StageRecipe:
    """One stage: samples per batch in each process, the loop's plan, and what a memory stage leaves out at times."""

    __pydantic_config__ = _STRICT

    batch: Count
    plan: Plan
    dropouts: Dropouts | None = None


@dataclass(frozen=True)
class SpritesNetworks:
    """Networks built here at these widths, every stage trained from nothing."""

    __pydantic_config__ = _STRICT

    source: Literal["sprites"]
    vae_channels: Channels
    unet_channels: Channels
    picture_channels: Annotated[tuple[Count, ...], Field(min_length=4, max_length=4)]
    image_tokens: Count
    refiner_channels: Channels


@dataclass(frozen=True)
class PresetNetworks:
    """Networks of an installed preset, or of a folder with preset.json: the base is there, memories are trained."""

    __pydantic_config__ = _STRICT

    source: Literal["preset"]
    preset: str
    memory: Literal["new", "pretrained"] = "new"
    """"new": on the untouched base, memories that start as zero; "pretrained": go on from the preset's own."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: far less memory, a third more time."""


@dataclass(frozen=True)
class SpritesData:
    """The synthetic world: clips of 32 frames, single pictures, and pairs for the refiner; each encoded once."""

    __pydantic_config__ = _STRICT

    source: Literal["sprites"]
    clips: Annotated[int, Field(ge=2)]
    pictures: Annotated[int, Field(ge=2)]
    """Half of them the first frame of a scene: there a caption says where everything is."""
    two_sprites_share: Annotated[float, Field(ge=0, le=1)]
    """Of the clips and pictures, those that show two objects. They are harder than one, so more than is asked for."""
    refiner_clips: Annotated[int, Field(ge=2)]


@dataclass(frozen=True)
class ClipsData:
    """A folder of videos with captions.jsonl, encoded once."""

    __pydantic_config__ = _STRICT

    source: Literal["clips"]
    folder: Path
    height: Size
    width: Size
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    frames_per_clip: Annotated[int, Field(ge=PAST + WINDOW)]
    """The most frames that are kept of each clip, from its beginning."""
    cache_dtype: Literal["float16", "bfloat16"] = "float16"
    most_clips: Count | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a preset's weights, but for the machine it is trained on."""

    __pydantic_config__ = _STRICT

    name: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    networks: Annotated[SpritesNetworks | PresetNetworks, Field(discriminator="source")]
    data: Annotated[SpritesData | ClipsData, Field(discriminator="source")]
    stages: dict[str, StageRecipe]

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Its stages in the order in which they build on one another."""
        return tuple(name for name in STAGES if name in self.stages)

    def origin(self, stage: str) -> dict[str, int]:
        """What decides, beside the plan, which data the steps of a stage see."""
        return {"seed": self.seed, "batch": self.stages[stage].batch}

    def on_clips(self, folder: Path) -> Recipe:
        """The same recipe on the clips of another folder. Raises RecipeError."""
        if not isinstance(self.data, ClipsData):
            raise RecipeError(f"--clips: recipe {self.name!r} trains on its own world, not on a folder of clips")
        return replace(self, data=replace(self.data, folder=folder))

    def smoke(self) -> Recipe:
        """The same recipe at toy sizes, two steps a stage: shows in seconds that every stage runs.

        The networks of a preset keep their sizes; of a folder of clips the first few are taken.
        """
        tiny = {
            name: replace(stage, batch=2, plan=replace(stage.plan, steps=2, accumulate=1))
            for name, stage in self.stages.items()
        }
        return replace(self, networks=_tiny_networks(self.networks), data=_few_clips(self.data), stages=tiny)


def _tiny_networks(networks: SpritesNetworks | PresetNetworks) -> SpritesNetworks | PresetNetworks:
    if isinstance(networks, PresetNetworks):
        return networks
    return replace(
        networks,
        vae_channels=(8, 8, 8, 8),
        unet_channels=(16, 16, 16, 16),
        image_tokens=2,
        refiner_channels=(16, 16, 16, 16),
    )


def _few_clips(data: SpritesData | ClipsData) -> SpritesData | ClipsData:
    if isinstance(data, ClipsData):
        return replace(data, most_clips=4)
    return replace(data, clips=2, pictures=2, refiner_clips=2)


def load_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name ("sprites") or any recipe by path. Raises RecipeError.

    A relative folder of clips in it is seen from the recipe's own folder, or from here for a shipped recipe.
    """
    path = _SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"no recipe {name_or_path!r}: give a path, or one of the shipped names: {_shipped_names()}")
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
        faults = [f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise RecipeError("; ".join(faults)) from error
    _check_sources(recipe)
    _check_stages(recipe)
    return recipe


def _stage_entry(entry: Any) -> Any:
    """The file has a stage's batch, plan and dropouts side by side."""
    if not isinstance(entry, dict):
        return entry
    given = cast("dict[str, Any]", entry)
    own = {field.name for field in fields(StageRecipe)} - {"plan"}
    plan = {key: value for key, value in given.items() if key not in own}
    return {key: value for key, value in given.items() if key in own} | {"plan": plan}


def _place(location: tuple[int | str, ...]) -> str:
    """networks.sprites.image_tokens -> [networks] image_tokens, as it stands in the file."""
    source = 1 if location[:1] in (("networks",), ("data",)) else None
    parts = [str(part) for index, part in enumerate(location) if index != source and part != "plan"] or ["the recipe"]
    table, entry = ".".join(parts[:-1]), parts[-1]
    return f"[{table}] {entry}" if table else entry


def _check_sources(recipe: Recipe) -> None:
    if (recipe.networks.source == "sprites") != (recipe.data.source == "sprites"):
        raise RecipeError(
            f'networks of source "{recipe.networks.source}" cannot train on data of source "{recipe.data.source}": '
            'use "sprites" for both, or "preset" with "clips"'
        )


def _check_stages(recipe: Recipe) -> None:
    names = set(recipe.stages)
    if recipe.networks.source == "sprites" and names != set(STAGES):
        raise RecipeError(f"stages must be exactly {', '.join(STAGES)}; found {', '.join(names) or 'none'}")
    if recipe.networks.source == "preset" and (not names or not names <= set(MEMORY_STAGES)):
        raise RecipeError(f"stages on clips are {' and '.join(MEMORY_STAGES)}; found {', '.join(names) or 'none'}")
    for name, stage in recipe.stages.items():
        if stage.dropouts is not None and name not in MEMORY_STAGES:
            raise RecipeError(f"[stages.{name}] dropouts: only {' and '.join(MEMORY_STAGES)} have them")
