"""preset.json of an engine `streaming_t2v`, as the engine reads it: sampling profiles, schedule, sizes.

Knows no weights and no networks. What the service reads of the same file, without torch, is catalog.Preset.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from core.model.presets.files import FIX
from core.model.refinement.engine import RefinerLaws
from core.model.refinement.schedule import vid2vid_sigmas
from core.model.sampling.samplers import SamplerName, SamplingPlan
from core.model.sampling.schedules import NoiseSchedule, Spacing, schedule_from_config
from core.model.streaming_t2v.chunk_loop import Recipe
from core.service.catalog import Preset, ProfileDefaults, RefinerFacts, SamplingDefaults
from core.service.errors import PresetError
from core.service.schema import Profile

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


class RefinerPreset(RefinerFacts):
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

    def laws(self, scheduler_of_source: dict[str, Any] | None = None) -> RefinerLaws:
        """What the network was trained for."""
        config = scheduler_of_source if self.scheduler is None else self.scheduler
        schedule = None if config is None else schedule_from_config(config)
        return RefinerLaws(
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

    def recipe(self, sampling: SamplingFacts) -> Recipe:
        """How latents are sampled with these defaults."""
        plan = SamplingPlan(
            sampling.sampler,
            sampling.num_inference_steps,
            eta=sampling.eta,
            spacing=sampling.timestep_spacing or self.scheduler.get("timestep_spacing", "leading"),
            offset=self.scheduler.get("steps_offset", 0),
        )
        return Recipe(
            plan, self.schedule, sampling.guidance_scale, sampling.guidance_interval, sampling.deep_feature_steps
        )

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
