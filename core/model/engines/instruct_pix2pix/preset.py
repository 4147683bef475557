"""preset.json of the engine `instruct_pix2pix`. Torch-free."""

from pydantic import Field

from core.model.pipelines.preset import PipelinePreset
from core.service.engines.capabilities import Capabilities, SizeRule


class InstructPix2PixPreset(PipelinePreset):
    """preset.json of an engine `instruct_pix2pix`."""

    size: SizeRule | None = Field(
        default=None, description="Sizes that a request may have; null: those of `height` and `width` only."
    )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=("negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps"),
            video="whole",
            size=self.size,
            length_of_input=True,
            needs_input=True,
            prompt_changes=True,
            reseeds=True,
        )
