"""The presets of a deployment, read torch-free from <presets_dir>/<name>/preset.json, and their token counts.

Knows names, sizes, limits and sampling defaults, and whether a preset's weights are there; does not load weights
(core.model.presets does) and does not get them (core.model.hub does).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from tokenizers import Tokenizer

from core.service.admission.vocabulary import Vocabulary, WordCheck
from core.service.domain.errors import ModelNotInstalled, PresetError, UnknownModel, shortened
from core.service.domain.first_chunk_sources import BASE, SAMPLING, SourceChoice, source_name
from core.service.domain.frame_rate import FrameRate
from core.service.domain.schema import DEFAULT_PROFILE, MIN_FRAMES, FirstChunkSampling, JobSpec, Profile
from core.service.settings import Settings

MAX_STEPS = 1000
"""Of any sampler: the timesteps that models are trained with."""
REFINER_FOLDER = "refiner"
"""Where in a weights folder the refiner's networks are."""
DIFFUSERS_REFINER = "diffusers:"
"""What a refiner's `source` begins with."""


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


class HubFiles(BaseModel):
    """Files of one repository of the Hugging Face Hub."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    revision: str = Field(description="Commit, tag or branch; what a branch points at is pinned by the first pull.")
    files: tuple[str, ...]


class Download(BaseModel):
    """Where the weights of a preset come from that is too large to be shipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: HubFiles = Field(description="The one file with all networks of the method.")
    base: HubFiles = Field(description="The untouched base model: UNet of the first chunk, and the tokenizer.")
    refiner: HubFiles | None = Field(
        default=None,
        description="Installed only where it is asked for: its UNet, text tower and autoencoder, in this order.",
    )

    @property
    def needed(self) -> tuple[HubFiles, ...]:
        """What the preset cannot do without."""
        return (self.base, self.checkpoint)


LimitName = Literal[
    "max_frames",
    "max_inference_steps",
    "max_first_chunk_steps",
    "max_refine_steps",
    "max_refine_pixels",
    "max_lockstep_frames",
]
"""Limits that a deployment sets (Settings) and a preset may lower."""


class PresetLimits(BaseModel):
    """Limits of a preset below the deployment's; None: the deployment's. A default of the preset is never refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_frames: int | None = Field(default=None, ge=MIN_FRAMES)
    max_inference_steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    max_first_chunk_steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    max_refine_steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    max_refine_pixels: int | None = Field(default=None, ge=1)
    max_lockstep_frames: int | None = Field(default=None, ge=MIN_FRAMES)


class RefinerDefaults(BaseModel):
    """The torch-free facts of a preset's refiner: defaults and limits. Keys that only the engine reads are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    height: int = Field(gt=0, multiple_of=8, description="Pixels, where a request names no size.")
    width: int = Field(gt=0, multiple_of=8, description="Pixels, where a request names no size.")
    max_side: int = Field(gt=0, multiple_of=8, description="Longest side that may be asked for, pixels.")
    strength: float = Field(gt=0, le=1)
    num_inference_steps: int = Field(ge=1)
    guidance_scale: float = Field(ge=1.0)
    source: str | None = Field(
        default=None,
        pattern=f"^{DIFFUSERS_REFINER}.+$",
        description="diffusers:ORG/NAME or a folder in that layout; unset: `refiner/` of the weights.",
    )
    prompt_suffix: str = Field(default="", description="Follows every prompt, as in the refiner's published use.")


class Preset(BaseModel):
    """The torch-free facts of preset.json. Keys that only the engine reads are kept in `model_extra`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    description: str
    engine: str
    height: int = Field(gt=0, description="Pixels.")
    width: int = Field(gt=0, description="Pixels.")
    fps: FrameRate = Field(description="Frames per second the model was trained at; the default playback rate.")
    max_prompt_tokens: int = Field(
        ge=1, description="Tokens of prompt that the text encoder reads, special tokens not counted."
    )
    negative_prompt: str = ""
    profiles: dict[Profile, ProfileDefaults]
    example_prompts: tuple[str, ...] = ()
    first_chunk_source: Annotated[str, AfterValidator(source_name)] = Field(
        default=BASE, description="What makes the first 16 frames: base, animatediff, svd or diffusers:ORG/NAME."
    )
    download: Download | None = None
    refiner: RefinerDefaults | None = Field(default=None, description="None: videos of this preset cannot be refined.")
    limits: PresetLimits = Field(default=PresetLimits(), description="What requests may ask, below the deployment's.")

    @property
    def accepts_image(self) -> bool:
        """Whether a video can begin with a given picture."""
        return SourceChoice.parse(self.first_chunk_source).accepts_image

    def with_first_chunk_source(self, source: str) -> Preset:
        """The same preset on another first-chunk source, whose sampling replaces that of the first chunk."""
        sampling = SAMPLING.get(SourceChoice.parse(source).kind)
        if source == self.first_chunk_source or sampling is None:
            return self.model_copy(update={"first_chunk_source": source})
        first_chunk = SamplingDefaults(
            num_inference_steps=sampling.num_inference_steps, guidance_scale=sampling.guidance_scale
        )
        profiles = {
            name: profile.model_copy(update={"first_chunk": first_chunk}) for name, profile in self.profiles.items()
        }
        return self.model_copy(update={"first_chunk_source": source, "profiles": profiles})

    @field_validator("profiles")
    @classmethod
    def _has_the_default(cls, profiles: dict[Profile, ProfileDefaults]) -> dict[Profile, ProfileDefaults]:
        """Requests that name no profile take this one, so it must be there."""
        if DEFAULT_PROFILE not in profiles:
            raise ValueError(f"the profile {DEFAULT_PROFILE!r} is missing")
        return profiles


class PresetFolder:
    """One preset on disk. Raises PresetError where preset.json or the tokenizer is missing or wrong."""

    def __init__(self, path: Path, weights_dir: Path, first_chunk_source: str | None = None) -> None:
        """`first_chunk_source`: the operator's choice instead of the preset's own."""
        self.path = path
        self._weights_dir = weights_dir
        self._first_chunk_source = first_chunk_source

    @cached_property
    def facts(self) -> Preset:
        file = self.path / "preset.json"
        try:
            facts = Preset.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise PresetError(f"{file}: {error.strerror}", fix="restore the preset's files") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            what = first["msg"].removeprefix("Value error, ")  # pydantic's word for our own validators
            raise PresetError(f"{file}: {where}: {what}", fix="restore the preset's files") from error
        return facts.with_first_chunk_source(self._first_chunk_source) if self._first_chunk_source else facts

    @property
    def weights(self) -> Path:
        """The weights folder: beside preset.json, or where downloads are kept."""
        return self.path if self.facts.download is None else self._weights_dir / self.path.name

    @property
    def installed(self) -> bool:
        """Whether the weights are there. A downloaded folder appears only when it is whole."""
        return self.facts.download is None or self.weights.is_dir()

    @property
    def install_command(self) -> str:
        """What gets the weights."""
        return f"longtake pull {self.path.name}"

    @property
    def refiner_weights(self) -> Path:
        """The refiner's folder; there only where the refiner is, and whole."""
        return self.weights / REFINER_FOLDER

    @property
    def refines(self) -> bool:
        """Whether the preset has a refiner and it is there: of a downloaded preset it is an extra."""
        refiner, comes_apart = self.facts.refiner, self.facts.download is not None
        if refiner is None or refiner.source is not None:
            return refiner is not None  # a source is fetched by the worker that needs it
        return self.refiner_weights.is_dir() or not comes_apart

    @property
    def refiner_command(self) -> str:
        """What gets the refiner, and the weights where they are missing."""
        return f"{self.install_command} --refiner"

    def require_installed(self) -> None:
        """Raises ModelNotInstalled that says which files are missing and what gets them."""
        if self.installed or self.facts.download is None:
            return
        files = ", ".join(
            f"{name} of {source.repository}" for source in self.facts.download.needed for name in source.files
        )
        raise ModelNotInstalled(
            f"the weights of {self.path.name} are not installed; they are made from {files}",
            field="model",
            fix=f"run `{self.install_command}`, or use another model",
        )

    def require_refiner(self) -> None:
        """Raises ModelNotInstalled that says what gets the refiner."""
        if not self.refines:
            raise ModelNotInstalled(
                f"the refiner of {self.path.name} is not installed",
                field="refine",
                fix=f"run `{self.refiner_command}`, or leave `refine` out",
            )

    @cached_property
    def _tokenizer(self) -> Any:
        self.require_installed()
        file = self.weights / "tokenizer" / "tokenizer.json"
        if not file.is_file():
            raise PresetError(f"{file} is missing", fix="restore the preset's files")
        return Tokenizer.from_file(str(file))

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` without special tokens. Raises ModelNotInstalled."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._tokenizer)

    def check_words(self, text: str) -> WordCheck:
        """What of `text` the model knows. Raises ModelNotInstalled."""
        return self._vocabulary.check(text)


class Catalog:
    """Presets by name. The folder is listed once; a preset is read when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self._folders = {
            file.parent.name: PresetFolder(file.parent, settings.weights_dir.expanduser(), settings.first_chunk_source)
            for file in sorted(settings.presets_dir.glob("*/preset.json"))
        }

    def names(self) -> list[str]:
        return list(self._folders)

    def get(self, name: str) -> PresetFolder:
        """Raises UnknownModel with the names that exist."""
        if name not in self._folders:
            known = ", ".join(self._folders) or "none installed"
            raise UnknownModel(
                f"there is no model named '{shortened(name, 64)}'", field="model", fix=f"use one of: {known}"
            )
        return self._folders[name]


def default_spec(facts: Preset, prompt: str, num_frames: int, seed: int) -> JobSpec:
    """A complete request as admission fills in one that asks for nothing but this."""
    profile = facts.profiles[DEFAULT_PROFILE]
    return JobSpec(
        prompt=prompt,
        negative_prompt=facts.negative_prompt,
        num_frames=num_frames,
        fps=facts.fps,
        seed=seed,
        model=facts.name,
        guidance_scale=profile.windows.guidance_scale,
        num_inference_steps=profile.windows.num_inference_steps,
        profile=DEFAULT_PROFILE,
        first_chunk=FirstChunkSampling(
            num_inference_steps=profile.first_chunk.num_inference_steps,
            guidance_scale=profile.first_chunk.guidance_scale,
        ),
    )
