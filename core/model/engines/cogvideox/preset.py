"""preset.json of the engine `cogvideox`. Torch-free."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator

from core.model.pipelines.preset import PipelinePreset
from core.model.pipelines.sizes import nearest_multiple
from core.service.engines.capabilities import Capabilities, EngineField, SizeRule, WindowLengths

FRAME_GROUP = 8
"""The autoencoder decodes frame 0 by itself and then groups of 8: a window has 8 n + 1 frames, as published."""
SIDE_MULTIPLE = 16
"""The autoencoder divides sides by 8, the transformer by 2 more."""
FIELDS: tuple[EngineField, ...] = ("negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps")

Continuation = Literal["last_frame", "overlap"]
SchedulerName = Literal["ddim", "dpm"]


class CogVideoXPreset(PipelinePreset):
    """preset.json of an engine `cogvideox`."""

    continuation: Continuation = Field(
        description="How a window goes on from the one before. last_frame: its last frame is the input image, which"
        " needs an image-to-video transformer. overlap: its last frames are the first of the new window, which needs a"
        " text-to-video transformer."
    )
    window_frames: int = Field(default=49, description="Frames of a window, 8 n + 1; 49 in training.")
    overlap_frames: int = Field(
        default=9, description="Frames, 8 n + 1, that windows have in common if the continuation is overlap."
    )
    continuation_strength: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Of an overlap: the share of the steps that are done. Below 1 the new frames begin as the last one,"
        " standing still, with less noise.",
    )
    scheduler: SchedulerName | None = Field(
        default=None, description="Sampler with the values of scheduler/; unset: the one that is named there."
    )
    timestep_spacing: Literal["leading", "linspace", "trailing"] = Field(
        default="trailing", description="Placement of the timesteps; the published demo has trailing."
    )
    use_dynamic_cfg: bool = Field(default=False, description="Whether guidance changes with the timestep, for dpm.")
    vae_tiling: bool = Field(
        default=True,
        description="Decode in tiles of half the autoencoder's own size: a quarter of the memory, slower. Frames"
        " larger than that size always are.",
    )

    @property
    def takes_image(self) -> bool:
        """Whether the transformer makes videos from an image, and from nothing else."""
        return self.continuation == "last_frame"

    @property
    def repeated_frames(self) -> int:
        """Frames that each later window repeats of the one before."""
        return 1 if self.takes_image else self.overlap_frames

    @property
    def windows(self) -> WindowLengths:
        return WindowLengths.repeating(self.window_frames, self.repeated_frames)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=FIELDS,
            image=self.takes_image,
            video="last_frames" if self.takes_image else "whole",
            needs_input=self.takes_image,
            length_of_input=not self.takes_image,
            size=self.size,
            prompt_changes=True,
            endless=True,
            reseeds=True,
            windows=self.windows,
        )

    def idle_parameters(self, *, has_video: bool, has_control: bool) -> Mapping[str, str]:
        """`strength` acts on repainted videos only."""
        del has_control
        if has_video and not self.takes_image:
            return {}
        who = f"{self.name} repaints no video" if self.takes_image else "without a video nothing is repainted"
        return {"strength": f"{who}: strength would do nothing"}

    @field_validator("window_frames", "overlap_frames")
    @classmethod
    def _is_a_group_of_frames(cls, frames: int) -> int:
        if frames < 1 or frames % FRAME_GROUP != 1:
            raise ValueError(f"{frames} frames are not {FRAME_GROUP} n + 1; the nearest is {nearest_frames(frames)}")
        return frames

    @field_validator("size")
    @classmethod
    def _is_divisible(cls, size: SizeRule | None) -> SizeRule | None:
        if size is not None and size.multiple_of % SIDE_MULTIPLE:
            raise ValueError(f"multiple_of must be a multiple of {SIDE_MULTIPLE}")
        return size

    @model_validator(mode="after")
    def _makes_new_frames(self) -> "CogVideoXPreset":
        for name, side in (("height", self.height), ("width", self.width)):
            if side % SIDE_MULTIPLE:
                nearest = nearest_multiple(side, SIDE_MULTIPLE)
                raise ValueError(f"{name} {side} is not divisible by {SIDE_MULTIPLE}; the nearest is {nearest}")
        if self.repeated_frames >= self.window_frames:
            raise ValueError(f"window_frames must be more than the {self.repeated_frames} that a window repeats")
        return self


def nearest_frames(frames: int) -> int:
    """The nearest number of frames that a window can have, at least 1."""
    return max(0, round((frames - 1) / FRAME_GROUP)) * FRAME_GROUP + 1
