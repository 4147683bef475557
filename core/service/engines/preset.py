"""preset.json: the keys that every preset has. Engines add keys in a subclass of Preset.

Admission and GET /models use its `capabilities` and `profile_defaults`. Unknown keys are errors.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from core.service.domain.errors import PresetError
from core.service.domain.frame_rate import FrameRate
from core.service.domain.schema import MIN_FRAMES, FirstChunkSampling, Profile
from core.service.engines.capabilities import Capabilities
from core.service.engines.hub_names import plain_name, require_inside
from core.service.engines.refiner import DEFAULT_REFINER, REFINERS, RefinerPreset
from core.service.settings import Settings

MAX_STEPS = 1000
"""Of any sampler: the number of timesteps in training."""
MIN_SIDE_PIXELS = 16
"""Of videos in H.264, whose sides are also even."""
FIX = "restore the preset's files"
PIPELINE_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model"})
"""Of the files of a PipelineDownload: weights, configs, and the tokenizers' merges.txt and spiece.model."""

LimitName = Literal[
    "max_frames",
    "max_inference_steps",
    "max_first_chunk_steps",
    "max_refine_steps",
    "max_refine_pixels",
    "max_lockstep_frames",
]
"""Limits that a deployment sets (Settings) and a preset may lower."""


class PresetPart(BaseModel):
    """Base of the models of preset.json: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PresetLimits(PresetPart):
    """Limits of a preset below the deployment's; None: the deployment's. A default of the preset is never refused."""

    min_frames: int = Field(default=MIN_FRAMES, ge=MIN_FRAMES)
    max_frames: int | None = Field(default=None, ge=MIN_FRAMES)
    max_inference_steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    max_first_chunk_steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    max_refine_steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    max_refine_pixels: int | None = Field(default=None, ge=1)
    max_lockstep_frames: int | None = Field(default=None, ge=MIN_FRAMES)


class HubFiles(PresetPart):
    """Files of one repository of the Hugging Face Hub."""

    repository: str
    revision: str = Field(description="Commit, tag or branch; the first pull pins the commit that a branch points at.")
    files: tuple[str, ...]


class PipelineFiles(HubFiles):
    """Files of a diffusers repository: safetensors, configs and tokenizer files, nothing else.

    They are installed by their names in it. Files of a variant (`.fp16.`) get the names of the plain ones, which
    `from_pretrained` looks for.
    """

    into: str = Field(default="", description="Folder of the weights folder, such as `controlnet/canny`.")

    @property
    def installed_names(self) -> dict[str, str]:
        """The path in the weights folder of each file, by its name in the repository."""
        return {name: str(PurePosixPath(self.into, plain_name(name))) for name in self.files}

    @field_validator("files")
    @classmethod
    def _of_known_kinds(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for name in files:
            if PurePosixPath(name).suffix not in PIPELINE_SUFFIXES:
                raise ValueError(f"{name} is no safetensors, config or tokenizer file; name the .safetensors file")
            require_inside(name)
        return files

    @field_validator("into")
    @classmethod
    def _inside(cls, into: str) -> str:
        require_inside(into)
        return into


class PipelineDownload(PresetPart):
    """The weights of a preset whose networks are diffusers' own: files of one or more repositories, not converted."""

    kind: Literal["pipeline"]
    repositories: tuple[PipelineFiles, ...] = Field(min_length=1, description="The first one has model_index.json.")
    optional: dict[str, PipelineFiles] = Field(
        default={},
        description="Installed only on request (`longtake pull NAME --with KEY`), such as ControlNets by type.",
    )

    @property
    def needed(self) -> tuple[HubFiles, ...]:
        """All but what is optional."""
        return self.repositories

    @model_validator(mode="after")
    def _one_file_by_each_name(self) -> PipelineDownload:
        """Raises ValueError for files that would overwrite one another, and optional ones without their own folder."""
        names = Counter(name for source in self.repositories for name in source.installed_names.values())
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"more than one file would be installed as {twice[0]}; leave all but one out")
        folders = {str(PurePosixPath(name).parent) for name in names}
        for key, source in self.optional.items():
            if not source.into or source.into in folders:
                raise ValueError(f"optional.{key} needs a folder of its own in `into`")
        return self


class Download(PresetPart):
    """Where the weights come from, for presets of StreamingT2V, which are too large to be shipped."""

    checkpoint: HubFiles = Field(description="The one file with all networks of the method.")
    base: HubFiles = Field(description="The untouched base model: UNet of the first chunk, and the tokenizer.")
    refiner: HubFiles | None = Field(
        default=None,
        description="Installed only on request: its UNet, text tower and autoencoder, in this order.",
    )

    @property
    def needed(self) -> tuple[HubFiles, ...]:
        """All but the refiner's."""
        return (self.base, self.checkpoint)


def _kind_of(download: object) -> str:
    """Which of the models validates a `download` block, so that its errors are those of one."""
    is_pipeline = isinstance(download, PipelineDownload) or (isinstance(download, dict) and "kind" in download)
    return "pipeline" if is_pipeline else "converted"


AnyDownload = Annotated[
    Annotated[Download, Tag("converted")] | Annotated[PipelineDownload, Tag("pipeline")], Discriminator(_kind_of)
]


class ProfileDefaults(PresetPart):
    """Sampling config of a profile, for fields that a request leaves out. None: the engine has no such field."""

    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    first_chunk: FirstChunkSampling | None = None
    distilled: bool = False
    """Whether guidance is in the weights that `guidance_scale` and `num_inference_steps` are about."""
    first_chunk_distilled: bool = False
    """The same of the weights of the first chunk."""


class ModelCard(PresetPart):
    """What people ask before they choose a model."""

    source: str = Field(description="URL of the model's page or paper.")
    licence: str = Field(description="Of the weights; SPDX identifier or the licence's own name.")
    disk_gb: float = Field(gt=0, description="Size of the installed weights, 10^9 bytes.")
    gpu_memory_gb: float | None = Field(
        default=None, description="GPU memory that it needs, 10^9 bytes, at its own size; null: it runs on a CPU."
    )
    notes: str = Field(default="", description="Limits that a user must know, in a sentence.")


class Preset(PresetPart):
    """What every preset.json has."""

    name: str
    description: str
    engine: str = Field(description="Name of the engine, in the registry.")
    height: int = Field(ge=MIN_SIDE_PIXELS, multiple_of=2, description="Pixels.")
    width: int = Field(ge=MIN_SIDE_PIXELS, multiple_of=2, description="Pixels.")
    fps: FrameRate = Field(description="Frames per second the model was trained at; the default playback rate.")
    max_prompt_tokens: int = Field(
        ge=1, description="Tokens of prompt that the text encoder reads, special tokens not counted."
    )
    negative_prompt: str = Field(default="", description="For requests without one.")
    example_prompts: tuple[str, ...] = ()
    parameters: dict[str, Any] = Field(
        default={}, description="Defaults of a request's `parameters`, in place of the engine's."
    )
    card: ModelCard | None = Field(default=None, description="Source, licence and needs, for GET /models.")
    download: AnyDownload | None = Field(default=None, description="None: the weights are beside preset.json.")
    shares: str | None = Field(
        default=None,
        description="Another preset in the same folder. Parts that this one's weights lack (vae/, text_encoder/,"
        " tokenizer/) are that one's.",
    )
    refiner: SerializeAsAny[RefinerPreset] | None = Field(
        default=None, description="None: videos of this preset cannot be refined."
    )
    limits: PresetLimits = Field(default=PresetLimits(), description="Limits on requests, below the deployment's.")

    @property
    def capabilities(self) -> Capabilities:
        """What requests for this preset may contain. By default: a prompt only."""
        return Capabilities(fields=())

    @property
    def profile_defaults(self) -> Mapping[Profile, ProfileDefaults]:
        """Sampling config by profile. Empty: the engine has none."""
        return {}

    @property
    def effective_limits(self) -> PresetLimits:
        """`limits`, lowered to what the engine supports."""
        return self.limits

    def idle_parameters(self, *, has_video: bool, has_control: bool) -> Mapping[str, str]:
        """Parameters that would do nothing in a request with or without a `video` or `control`, and why.

        They are refused if the request gives them.
        """
        del has_video, has_control
        return {}

    def configured(self, settings: Settings) -> Preset:
        """The preset with values replaced by the operator's settings."""
        del settings
        return self

    @field_validator("refiner", mode="before")
    @classmethod
    def _validated_by_its_kind(cls, block: object) -> object:
        """The block, validated by its refiner's own model. Raises ValueError for a refiner that cannot be used."""
        if not isinstance(block, dict):
            return block
        keys = cast("dict[str, Any]", block)
        try:
            definition = REFINERS.get(str(keys.get("kind", DEFAULT_REFINER)))
        except PresetError as error:
            raise ValueError(error.with_fix) from error
        return definition.preset.model_validate(keys)


PresetT = TypeVar("PresetT", bound=Preset)


def read_preset(folder: Path, model_of: Callable[[str], type[PresetT]]) -> PresetT:
    """preset.json of a folder, validated by the model that `model_of` returns for its engine's name.

    Raises PresetError naming the file and the key at fault.
    """
    file = folder / "preset.json"
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PresetError(f"{file}: {error.strerror}", fix=FIX) from error
    except ValueError as error:
        raise PresetError(f"{file}: {error}", fix=FIX) from error
    engine = content.get("engine") if isinstance(content, dict) else None
    if not isinstance(engine, str):
        raise PresetError(f"{file} names no engine", fix=FIX)
    try:
        return model_of(engine).model_validate(content)
    except ValidationError as error:
        raise PresetError(f"{file}: {first_problem(error)}", fix=FIX) from error


def first_problem(error: ValidationError) -> str:
    """The key at fault and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{key}: this key is unknown; remove it"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}"  # pydantic's prefix for our own validators
