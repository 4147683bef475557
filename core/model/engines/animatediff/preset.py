"""preset.json and request parameters of the engine `animatediff`. Torch-free."""

from typing import Literal

from pydantic import Field, model_validator

from core.model.pipelines.animation_preset import AnimationPreset
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.engines.capabilities import WindowLengths
from core.service.engines.definition import Parameters


class AnimateDiffPreset(AnimationPreset):
    """preset.json of an engine `animatediff`."""

    window_frames: int = Field(
        default=64, ge=CHUNK_FRAMES, description="Frames that are denoised together, by overlapping contexts."
    )
    context_length: int = Field(
        default=16, ge=2, description="Frames that attend to each other: what the motion adapter was trained with."
    )
    context_stride: int = Field(default=4, ge=1, description="Frames from the begin of a context to that of the next.")

    @property
    def overlap_frames(self) -> int:
        """Frames that a window repeats of the one before: every context with a new frame is whole."""
        return self.context_length - self.context_stride

    @property
    def windows(self) -> WindowLengths:
        """Those that are denoised together. Not among the capabilities: no border shows, as contexts overlap."""
        return WindowLengths.repeating(self.window_frames, self.overlap_frames)

    @model_validator(mode="after")
    def _contexts_fill_the_window(self) -> "AnimateDiffPreset":
        if self.context_stride >= self.context_length:
            raise ValueError("context_stride must be less than context_length: contexts overlap")
        if self.window_frames < self.context_length or (self.window_frames - self.context_length) % self.context_stride:
            raise ValueError("window_frames must be context_length plus a multiple of context_stride")
        return self


class AnimateDiffParameters(Parameters):
    """`parameters` of a request."""

    noise: Literal["shuffled", "random"] = Field(
        default="shuffled",
        description="shuffled: all frames share the noise of the first 16, in changing order (FreeNoise): the scene"
        " stays, motion repeats. random: each frame has its own: the scene may wander.",
    )
