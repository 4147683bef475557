"""What preset.json says of sampling: names, and the noise schedule of training. Torch-free."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

BetaKind = Literal["linear", "scaled_linear"]
Prediction = Literal["epsilon", "v_prediction"]
SamplerName = Literal["ddim", "dpm_solver_pp"]
Spacing = Literal["leading", "trailing", "linspace"]
GpuDtype = Literal["float32", "bfloat16"]
"""Of a preset's networks on a GPU. A CPU computes in float32."""


class NoiseScheduleConfig(BaseModel):
    """A noise schedule, with the keys and defaults of diffusers' DDIM scheduler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_train_timesteps: int = Field(default=1000, ge=1)
    beta_schedule: BetaKind = "linear"
    beta_start: float = 0.0001
    beta_end: float = 0.02
    prediction_type: Prediction = "epsilon"
    rescale_betas_zero_snr: bool = False
