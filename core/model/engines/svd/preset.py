"""preset.json of the engine `svd`. Torch-free."""

from core.model.pipelines.preset import ImageVideoPreset
from core.service.engines.capabilities import Capabilities, EngineField

FIELDS: tuple[EngineField, ...] = ("seed", "fps", "guidance_scale", "num_inference_steps")


class SvdPreset(ImageVideoPreset):
    """The network reads no text: prompts are for the image model, if there is one."""

    @property
    def capabilities(self) -> Capabilities:
        has_image_model = self.image_model is not None
        return Capabilities(
            fields=(*FIELDS, "negative_prompt") if has_image_model else FIELDS,
            image=True,
            size=self.sizes,
            prompt="without_image" if has_image_model else "no",
            needs_input=not has_image_model,
            reseeds=True,
            endless=True,
        )
