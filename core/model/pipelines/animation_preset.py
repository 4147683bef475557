"""preset.json of the engines that animate Stable Diffusion 1.5 with a motion adapter. Torch-free."""

from pydantic import model_validator

from core.model.pipelines.preset import PipelinePreset
from core.service.engines.capabilities import Capabilities

PIXELS_MULTIPLE = 8
"""Pixels of a latent; diffusers refuses other sizes."""


class AnimationPreset(PipelinePreset):
    """Sizes, and what requests may have: prompts and seeds may change, and a video needs no end."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=("negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps"),
            size=self.size,
            prompt_changes=True,
            reseeds=True,
            endless=True,
        )

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> "AnimationPreset":
        steps = [self.height, self.width, *([] if self.size is None else [self.size.multiple_of])]
        if any(step % PIXELS_MULTIPLE for step in steps):
            raise ValueError(f"height, width and size.multiple_of must be multiples of {PIXELS_MULTIPLE}")
        return self
