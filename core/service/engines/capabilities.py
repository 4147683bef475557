"""What an engine supports, so that requests with other fields are refused instead of ignored."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import JobRequest, JobSpec

EngineField = Literal[
    "negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps", "profile", "first_chunk"
]
"""Request fields that not every engine has. `refine` depends on the preset, input media on Capabilities."""
ALL_ENGINE_FIELDS: tuple[EngineField, ...] = get_args(EngineField)

VideoUse = Literal["no", "last_frames", "whole"]
PromptUse = Literal["required", "without_image", "no"]
MAX_SIDE = 2048


class SizeRule(BaseModel):
    """Which sizes a request may have."""

    model_config = ConfigDict(frozen=True)

    multiple_of: int = Field(ge=2, description="Both sides, in pixels: what the networks halve and patch.")
    min_side: int = Field(ge=16, description="Pixels.")
    max_side: int = Field(default=MAX_SIDE, description="Pixels.")
    max_pixels: int = Field(description="Width times height.")


class WindowLengths(BaseModel):
    """Where the windows of a video begin: at the frames `first`, `first + later`, `first + 2 * later` and so on."""

    model_config = ConfigDict(frozen=True)

    first: int = Field(ge=1, description="Frames of the first window.")
    later: int = Field(ge=1, description="New frames of each later one.")

    @classmethod
    def repeating(cls, window_frames: int, repeated: int = 1) -> WindowLengths:
        """Of windows of one length, each of which repeats the last `repeated` frames of the one before."""
        return cls(first=window_frames, later=window_frames - repeated)


class Capabilities(BaseModel):
    """What requests for one preset may contain."""

    model_config = ConfigDict(frozen=True)

    fields: tuple[EngineField, ...] = Field(description="Which of the optional sampling fields a request may have.")
    image: bool = Field(default=False, description="Whether a request may have an `image`.")
    video: VideoUse = Field(
        default="no",
        description="How a request's `video` is used: not at all (it is refused), its last 16 frames become the first"
        " chunk, or the whole video.",
    )
    control: tuple[str, ...] = Field(
        default=(), description="Types of control video that a request may have; none: `control` is refused."
    )
    size: SizeRule | None = Field(default=None, description="Sizes that a request may have; null: the model's only.")
    prompt: PromptUse = Field(
        default="required",
        description="Whether a request has a prompt: it must, it must unless it has an image, or it must not.",
    )
    length_of_input: bool = Field(
        default=False,
        description="Whether a video without num_frames or seconds is as long as its input video. Until that is read,"
        " num_frames is null.",
    )
    needs_input: bool = Field(
        default=False, description="Whether a request must have an `image`, a `video` or a `control` that it takes."
    )
    prompt_changes: bool = Field(default=False, description="Whether chunks of one video may have different prompts.")
    reseeds: bool = Field(default=False, description="Whether a video can go on with another seed.")
    endless: bool = Field(
        default=False,
        description="Whether a video may be without end, and its length change on the way: its frames do not depend on"
        " its length.",
    )

    windows: WindowLengths | None = Field(
        default=None,
        description="Lengths of the windows that a video is made of, each after the one before; null: they blend into"
        " one another, or there are none.",
    )

    def windows_of(self, job: JobRequest | JobSpec) -> WindowLengths | None:
        """The same for this job: where a given video goes on, its last chunk is the first window."""
        if self.windows is None or job.video is None or self.video != "last_frames":
            return self.windows
        return WindowLengths(first=CHUNK_FRAMES, later=self.windows.later)

    def goes_along(self, job: JobRequest | JobSpec) -> bool:
        """Whether each frame of the video is made from a frame of an input video: a `control`, or all of a `video`."""
        return job.control is not None or (job.video is not None and self.video == "whole")

    def has_open_length(self, job: JobRequest | JobSpec) -> bool:
        """Whether the video may be without end, and its length change on the way."""
        return self.endless and not self.goes_along(job)
