"""preset.json of the engine `i2vgen_xl`. Torch-free."""

from core.model.pipelines.preset import ImageVideoPreset
from core.service.engines.capabilities import Capabilities


class I2vgenXlPreset(ImageVideoPreset):
    """An image and a prompt; with an image model the prompt alone."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=("negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps"),
            image=True,
            size=self.size,
            needs_input=self.image_model is None,
            prompt_changes=True,
            reseeds=True,
            endless=True,
            windows=self.windows,
        )
