"""What an engine supports, so that requests with other fields are refused instead of ignored."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

EngineField = Literal[
    "negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps", "profile", "first_chunk"
]
"""Request fields that not every engine has. `refine` depends on the preset, input media on Capabilities."""
ALL_ENGINE_FIELDS: tuple[EngineField, ...] = get_args(EngineField)

VideoUse = Literal["no", "last_frames", "whole"]


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
    needs_input: bool = Field(default=False, description="Whether a request must have an `image` or a `video`.")
    prompt_changes: bool = Field(default=False, description="Whether chunks of one video may have different prompts.")
    endless: bool = Field(
        default=False,
        description="Whether a video may be without end, and its length change on the way: its frames do not depend on"
        " its length.",
    )
