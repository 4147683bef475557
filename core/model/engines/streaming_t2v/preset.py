"""preset.json of an engine `streaming_t2v`, as the engine reads it: sampling profiles, schedule, sizes.

Knows no weights and no networks. What the service reads of the same file, without torch, is catalog.Preset.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from core.model.engines.streaming_t2v.sampling import SamplingConfig
from core.model.presets.files import FIX
from core.model.refinement.engine import RefinerConfig
from core.model.refinement.schedule import vid2vid_sigmas
from core.model.sampling.samplers import SamplerName, SamplingPlan
from core.model.sampling.schedules import NoiseSchedule, Spacing, schedule_from_config
from core.service.admission.catalog import MAX_STEPS, Preset, ProfileDefaults, RefinerDefaults, SamplingDefaults
from core.service.domain.errors import PresetError
from core.service.domain.schema import NOISE_LEVELS, Profile

GpuDtype = Literal["float32", "bfloat16"]


class SamplingFacts(SamplingDefaults):
    """Sampling defaults with what only the engine reads."""

    sampler: SamplerName = "ddim"
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    timestep_spacing: Spacing | None = Field(default=None, description="Where the sampler steps; unset: as trained.")
    guidance_interval: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=1)]] | None = Field(
        default=None, description="Noise levels (0 to 1) between which guidance acts; unset: at all. Approximates."
    )
    deep_feature_steps: int = Field(
        default=1, ge=1, description="Steps of a window that share their deep features. Above 1 it approximates."
    )


class ProfileFacts(ProfileDefaults):
    """A profile with what only the engine reads. A CPU computes in float32 whatever `gpu_dtype` says."""

    windows: SamplingFacts  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues] - frozen
    first_chunk: SamplingFacts  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues] - frozen
    gpu_dtype: GpuDtype


class RefinerPreset(RefinerDefaults):
    """The refiner of a preset with what only its engine reads."""

    guidance_rescale: float = Field(default=0.0, ge=0.0, le=1.0)
    resampling: Literal["vid2vid", "plain"]
    scheduler: dict[str, Any] | None = Field(
        default=None,
        description="Noise schedule with diffusers' keys; unset: the source's, or MS-Vid2Vid-XL's table, v prediction.",
    )
    windows_per_batch: int = Field(default=1, ge=1, description="Windows of a lockstep step computed together.")
    vae_tile: int | None = Field(
        default=None,
        ge=64,
        multiple_of=32,
        description="Side in pixels of the tiles that the autoencoder works on; unset: on whole frames. Saves memory.",
    )
    gpu_dtype: GpuDtype

    @field_validator("scheduler")
    @classmethod
    def _has_the_levels_that_strength_counts(cls, scheduler: dict[str, Any] | None) -> dict[str, Any] | None:
        """Requests are checked against this number of levels (refine_request.py)."""
        if scheduler is not None and scheduler.get("num_train_timesteps", NOISE_LEVELS) != NOISE_LEVELS:
            raise ValueError(f"num_train_timesteps is {scheduler['num_train_timesteps']}, not {NOISE_LEVELS}")
        return scheduler

    def config(self, scheduler_of_source: dict[str, Any] | None = None) -> RefinerConfig:
        """What the network was trained for."""
        config = scheduler_of_source if self.scheduler is None else self.scheduler
        schedule = None if config is None else schedule_from_config(config)
        return RefinerConfig(
            sigmas_T=vid2vid_sigmas() if schedule is None else (1 - schedule.alphas_cumprod_T).sqrt(),
            prediction="v_prediction" if schedule is None else schedule.prediction,
            guidance_rescale=self.guidance_rescale,
            vid2vid_resampling=self.resampling == "vid2vid",
            windows_per_batch=self.windows_per_batch,
            prompt_suffix=self.prompt_suffix,
        )


class StreamingPreset(Preset):
    """preset.json of an engine `streaming_t2v`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    profiles: dict[Profile, ProfileFacts]  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues] - frozen
    refiner: RefinerPreset | None = None  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues] - frozen
    scheduler: dict[str, Any]

    def config(self, sampling: SamplingFacts) -> SamplingConfig:
        """How latents are sampled with these defaults."""
        plan = SamplingPlan(
            sampling.sampler,
            sampling.num_inference_steps,
            eta=sampling.eta,
            spacing=sampling.timestep_spacing or self.scheduler.get("timestep_spacing", "leading"),
            offset=self.scheduler.get("steps_offset", 0),
        )
        return SamplingConfig(
            plan, self.schedule, sampling.guidance_scale, sampling.guidance_interval, sampling.deep_feature_steps
        )

    @model_validator(mode="after")
    def _has_timesteps_for_every_step(self) -> "StreamingPreset":
        """A sampler visits no timestep twice, so requests must not ask for more steps than there are timesteps."""
        most = self.scheduler.get("num_train_timesteps", MAX_STEPS)
        parts = [part for profile in self.profiles.values() for part in (profile.windows, profile.first_chunk)]
        allowed = [self.limits.max_inference_steps or MAX_STEPS, self.limits.max_first_chunk_steps or MAX_STEPS]
        if max(*(part.num_inference_steps for part in parts), *allowed) > most:
            raise ValueError(
                f"scheduler.num_train_timesteps is {most}: profiles take no more steps, and limits.max_inference_steps"
                f" and limits.max_first_chunk_steps must be at most {most}"
            )
        return self

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule of training."""
        return schedule_from_config(self.scheduler)


def read_preset(folder: Path) -> StreamingPreset:
    """preset.json, checked."""
    file = folder / "preset.json"
    try:
        return StreamingPreset.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise PresetError(f"{file}: {error}", fix=FIX) from error
