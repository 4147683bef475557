"""preset.json of the engine `streaming_t2v`. Torch-free."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from core.model.sampling.config import GpuDtype, NoiseScheduleConfig, SamplerName, Spacing
from core.service.domain.first_chunk_sources import BASE, MAX_PIPELINE_STEPS, SAMPLING, SourceChoice, source_name
from core.service.domain.frame_plan import CHUNK_FRAMES, NEW_FRAMES_PER_WINDOW
from core.service.domain.schema import DEFAULT_PROFILE, FirstChunkSampling, Profile
from core.service.engines import preset as presets
from core.service.engines.capabilities import ALL_ENGINE_FIELDS, Capabilities, WindowLengths
from core.service.engines.preset import MAX_STEPS, Preset, PresetLimits, PresetPart, ProfileDefaults
from core.service.settings import Settings

ADAPTERS_FOLDER = "distilled"
"""Folder of a weights folder with the adapters of distilled profiles."""
WINDOWS_ADAPTER = "windows.safetensors"
FIRST_CHUNK_ADAPTER = "first_chunk.safetensors"


class PresetSampling(PresetPart):
    """Sampling config of the windows or the first chunk, for fields that a request leaves out."""

    num_inference_steps: int = Field(ge=1)
    guidance_scale: float = Field(ge=1.0)
    sampler: SamplerName = "ddim"
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    timestep_spacing: Spacing | None = Field(
        default=None, description="Placement of the sampler's timesteps; unset: the scheduler's."
    )
    guidance_interval: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=1)]] | None = Field(
        default=None,
        description="Noise levels (0 to 1) between which guidance is applied; unset: all. An approximation.",
    )
    deep_feature_steps: int = Field(
        default=1, ge=1, description="Steps of a window that share their deep features. Above 1 an approximation."
    )
    distilled: bool = Field(
        default=False,
        description="Uses the adapter in distilled/: guidance is in the weights, so guidance_scale is 1.",
    )


class PresetProfile(PresetPart):
    """One named way to sample: `fast` for the service, `reference` as published."""

    windows: PresetSampling
    first_chunk: PresetSampling
    gpu_dtype: GpuDtype = Field(description="Of the networks on a GPU. A CPU computes in float32.")


class PresetScheduler(NoiseScheduleConfig):
    """The noise schedule of training, and the default placement of timesteps."""

    timestep_spacing: Spacing = "leading"
    set_alpha_to_one: bool = True
    steps_offset: int = 0


class StreamingPreset(Preset):
    """preset.json of an engine `streaming_t2v`."""

    profiles: dict[Profile, PresetProfile]
    scheduler: PresetScheduler
    first_chunk_source: Annotated[str, AfterValidator(source_name)] = Field(
        default=BASE, description="What makes the first 16 frames: base, animatediff, svd or diffusers:ORG/NAME."
    )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=ALL_ENGINE_FIELDS,
            image=SourceChoice.parse(self.first_chunk_source).accepts_image,
            video="last_frames",
            prompt_changes=True,
            endless=True,
            reseeds=True,
            windows=WindowLengths(first=CHUNK_FRAMES, later=NEW_FRAMES_PER_WINDOW),
        )

    @property
    def profile_defaults(self) -> Mapping[Profile, ProfileDefaults]:
        return {name: self._defaults(profile) for name, profile in self.profiles.items()}

    @property
    def effective_limits(self) -> PresetLimits:
        """`limits`; diffusers pipelines support fewer first-chunk steps than the base."""
        own = self.limits.max_first_chunk_steps
        if self.first_chunk_source == BASE or (own is not None and own <= MAX_PIPELINE_STEPS):
            return self.limits
        return self.limits.model_copy(update={"max_first_chunk_steps": MAX_PIPELINE_STEPS})

    def configured(self, settings: Settings) -> Preset:
        """With the operator's first-chunk source and its sampling config."""
        source = settings.first_chunk_source
        return self if source is None else self.with_first_chunk_source(source)

    def with_first_chunk_source(self, source: str) -> "StreamingPreset":
        """The preset with another first-chunk source and its sampling config."""
        sampling = SAMPLING.get(SourceChoice.parse(source).kind)
        if source == self.first_chunk_source or sampling is None:
            return self.model_copy(update={"first_chunk_source": source})
        first_chunk = PresetSampling(
            num_inference_steps=sampling.num_inference_steps, guidance_scale=sampling.guidance_scale
        )
        profiles = {
            name: profile.model_copy(update={"first_chunk": first_chunk}) for name, profile in self.profiles.items()
        }
        return self.model_copy(update={"first_chunk_source": source, "profiles": profiles})

    @staticmethod
    def _defaults(profile: PresetProfile) -> ProfileDefaults:
        windows, first = profile.windows, profile.first_chunk
        return ProfileDefaults(
            guidance_scale=windows.guidance_scale,
            num_inference_steps=windows.num_inference_steps,
            first_chunk=FirstChunkSampling(
                num_inference_steps=first.num_inference_steps, guidance_scale=first.guidance_scale
            ),
            distilled=windows.distilled,
            first_chunk_distilled=first.distilled,
        )

    @field_validator("profiles")
    @classmethod
    def _has_the_default(cls, profiles: dict[Profile, PresetProfile]) -> dict[Profile, PresetProfile]:
        """Requests without a profile use the default one."""
        if DEFAULT_PROFILE not in profiles:
            raise ValueError(f"the profile {DEFAULT_PROFILE!r} is missing")
        return profiles

    @model_validator(mode="after")
    def _has_timesteps_for_every_step(self) -> "StreamingPreset":
        """A sampler uses each timestep once, so neither presets nor requests may have more steps than timesteps."""
        most = self.scheduler.num_train_timesteps
        parts = [part for profile in self.profiles.values() for part in (profile.windows, profile.first_chunk)]
        allowed = [self.limits.max_inference_steps or MAX_STEPS, self.limits.max_first_chunk_steps or MAX_STEPS]
        if max(*(part.num_inference_steps for part in parts), *allowed) > most:
            raise ValueError(
                f"scheduler.num_train_timesteps is {most}: profiles take no more steps, and limits.max_inference_steps"
                f" and limits.max_first_chunk_steps must be at most {most}"
            )
        return self


def read_preset(folder: Path) -> StreamingPreset:
    """preset.json of a folder. Raises PresetError."""
    return presets.read_preset(folder, lambda _engine: StreamingPreset)
