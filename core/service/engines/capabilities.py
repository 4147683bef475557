"""What an engine can be asked for, so that a request for anything else is refused and not ignored."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

EngineField = Literal[
    "negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps", "profile", "first_chunk"
]
"""Fields of a request that an engine need not take. `refine` follows from the preset, media from Capabilities."""
ALL_ENGINE_FIELDS: tuple[EngineField, ...] = get_args(EngineField)

VideoUse = Literal["no", "last_frames", "whole"]


class Capabilities(BaseModel):
    """What requests may have, by engine and preset."""

    model_config = ConfigDict(frozen=True)

    fields: tuple[EngineField, ...] = Field(description="Which of the optional sampling fields a request may have.")
    image: bool = Field(default=False, description="Whether a request may have an `image`.")
    video: VideoUse = Field(
        default="no",
        description="What is read of a request's `video`: nothing (it is refused), its last 16 frames, which become"
        " the first chunk, or all of it.",
    )
    needs_input: bool = Field(default=False, description="Whether a request must have an `image` or a `video`.")
    prompt_changes: bool = Field(default=False, description="Whether chunks of one video may have different prompts.")
