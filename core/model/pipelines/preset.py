"""preset.json of the engines on diffusers pipelines. Torch-free."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from core.service.domain.first_chunk_sources import MAX_PIPELINE_STEPS
from core.service.domain.schema import DEFAULT_PROFILE, JobSpec, Profile
from core.service.engines.capabilities import SizeRule, WindowLengths
from core.service.engines.preset import Preset, PresetLimits, ProfileDefaults
from core.service.settings import Settings

PipelineDtype = Literal["float32", "float16", "bfloat16"]
"""Of a pipeline's networks on a GPU. A CPU computes in float32."""


class PipelinePreset(Preset):
    """Sampling defaults; requests have no `profile`. Engines add keys and `capabilities`."""

    num_inference_steps: int = Field(ge=1, description="Denoising steps, if a request names no number.")
    guidance_scale: float = Field(ge=1.0, description="If a request names none.")
    size: SizeRule | None = Field(
        default=None, description="Sizes that a request may have; null: `height` and `width` only."
    )
    gpu_dtype: PipelineDtype = Field(default="float16", description="Of the networks on a GPU.")
    offload: bool = Field(
        default=False, description="Keep networks in main memory while they are not used: less GPU memory, slower."
    )

    def picture_size(self, spec: JobSpec) -> tuple[int, int]:
        """Height and width of a job's video in pixels."""
        return spec.height or self.height, spec.width or self.width

    @property
    def profile_defaults(self) -> Mapping[Profile, ProfileDefaults]:
        """The same for every request."""
        defaults = ProfileDefaults(guidance_scale=self.guidance_scale, num_inference_steps=self.num_inference_steps)
        return {DEFAULT_PROFILE: defaults}

    @property
    def effective_limits(self) -> PresetLimits:
        """`limits`, with no more steps than all diffusers schedulers take."""
        most = min(self.limits.max_inference_steps or MAX_PIPELINE_STEPS, MAX_PIPELINE_STEPS)
        return self.limits.model_copy(update={"max_inference_steps": most})


class ImageVideoPreset(PipelinePreset):
    """For image-to-video pipelines that make windows, each from a given frame."""

    window_frames: int = Field(ge=2, description="Frames of a window, the given one included.")
    conditioning_fps: int = Field(
        ge=2, description="Frames per second that the network is told, whatever the video's own rate."
    )
    decode_chunk_size: int = Field(ge=1, description="Frames decoded at a time: more take more memory.")
    image_model: str | None = Field(
        default=None, description="Text-to-image model for jobs without an image: Hub id or folder; null: none."
    )

    @property
    def windows(self) -> WindowLengths:
        """Each later window repeats the frame that it is given."""
        return WindowLengths.repeating(self.window_frames)

    def configured(self, settings: Settings) -> Preset:
        """With the operator's image model."""
        return self if settings.image_model is None else self.model_copy(update={"image_model": settings.image_model})
