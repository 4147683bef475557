"""preset.json of the engine `svd`, and `parameters` of its requests. Torch-free."""

from pydantic import Field

from core.model.pipelines.preset import ImageVideoPreset
from core.service.engines.capabilities import Capabilities, EngineField
from core.service.engines.definition import Parameters

FIELDS: tuple[EngineField, ...] = ("seed", "fps", "guidance_scale", "num_inference_steps")


class SvdPreset(ImageVideoPreset):
    """The network reads no text: prompts are for the image model, if there is one."""

    @property
    def capabilities(self) -> Capabilities:
        has_image_model = self.image_model is not None
        return Capabilities(
            fields=(*FIELDS, "negative_prompt") if has_image_model else FIELDS,
            image=True,
            size=self.size,
            prompt="without_image" if has_image_model else "no",
            needs_input=not has_image_model,
            reseeds=True,
            endless=True,
            windows=self.windows,
        )


class SvdParameters(Parameters):
    """`parameters` of a request. Defaults are the library's."""

    motion_bucket_id: int = Field(default=127, ge=1, le=255, description="How much moves: more with larger values.")
    noise_aug_strength: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="Noise added to the frame that a window begins with: more frees the video from it.",
    )
