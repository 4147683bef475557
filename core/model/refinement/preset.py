"""The `refiner` block of preset.json for the refiner `sdedit`. Torch-free."""

from typing import Literal

from pydantic import Field, field_validator

from core.model.sampling.config import GpuDtype, NoiseScheduleConfig
from core.service.domain.errors import PresetError
from core.service.domain.schema import NOISE_LEVELS
from core.service.engines.preset import FIX, Preset
from core.service.engines.refiner import DEFAULT_REFINER, RefinerPreset

DIFFUSERS_REFINER = "diffusers:"
"""Prefix of `source`."""


class RefinerScheduler(NoiseScheduleConfig):
    """The noise schedule of a refiner."""

    @field_validator("num_train_timesteps")
    @classmethod
    def _has_the_levels_that_strength_counts(cls, num_train_timesteps: int) -> int:
        """Requests are checked against this number of levels (refine_request.py)."""
        if num_train_timesteps != NOISE_LEVELS:
            raise ValueError(f"num_train_timesteps is {num_train_timesteps}, not {NOISE_LEVELS}")
        return num_train_timesteps


class SdeditPreset(RefinerPreset):
    """A video diffusion model that noises the enlarged preview to `strength` and denoises it."""

    source: str | None = Field(
        default=None,
        pattern=f"^{DIFFUSERS_REFINER}.+$",
        description="diffusers:ORG/NAME or a folder in that layout; unset: `refiner/` of the weights.",
    )
    guidance_rescale: float = Field(default=0.0, ge=0.0, le=1.0)
    resampling: Literal["vid2vid", "plain"]
    scheduler: RefinerScheduler | None = Field(
        default=None, description="Noise schedule; unset: the source's, or MS-Vid2Vid-XL's table, v prediction."
    )
    windows_per_batch: int = Field(default=1, ge=1, description="Windows of a lockstep step computed together.")
    vae_tile: int | None = Field(
        default=None,
        ge=64,
        multiple_of=32,
        description="Side in pixels of the tiles that the autoencoder works on; unset: on whole frames. Saves memory.",
    )
    gpu_dtype: GpuDtype

    @property
    def in_weights_folder(self) -> bool:
        return self.source is None


def sdedit_of(preset: Preset) -> SdeditPreset:
    """The block of a preset that has this refiner. Raises PresetError for others."""
    if not isinstance(preset.refiner, SdeditPreset):
        raise PresetError(f"{preset.name} has no refiner of kind {DEFAULT_REFINER}", fix=FIX)
    return preset.refiner
