"""preset.json of the engine `instruct_pix2pix`. Torch-free."""

from core.model.pipelines.preset import PipelinePreset
from core.service.engines.capabilities import Capabilities


class InstructPix2PixPreset(PipelinePreset):
    """preset.json of an engine `instruct_pix2pix`."""

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
