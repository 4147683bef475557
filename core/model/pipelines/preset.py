"""preset.json of the engines on diffusers pipelines. Torch-free."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from core.service.domain.schema import DEFAULT_PROFILE, Profile
from core.service.engines.preset import Preset, ProfileDefaults

PipelineDtype = Literal["float32", "float16", "bfloat16"]
"""Of a pipeline's networks on a GPU. A CPU computes in float32."""


class PipelinePreset(Preset):
    """Sampling defaults; requests have no `profile`. Engines add keys and `capabilities`."""

    num_inference_steps: int = Field(ge=1, description="Denoising steps, if a request names no number.")
    guidance_scale: float = Field(ge=1.0, description="If a request names none.")
    gpu_dtype: PipelineDtype = Field(default="float16", description="Of the networks on a GPU.")
    offload: bool = Field(
        default=False, description="Keep networks in main memory while they are not used: less GPU memory, slower."
    )

    @property
    def profile_defaults(self) -> Mapping[Profile, ProfileDefaults]:
        """The same for every request."""
        defaults = ProfileDefaults(guidance_scale=self.guidance_scale, num_inference_steps=self.num_inference_steps)
        return {DEFAULT_PROFILE: defaults}
