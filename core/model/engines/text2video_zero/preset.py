"""preset.json of the engine `text2video_zero`. Torch-free."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from core.model.pipelines.preset import PipelinePreset
from core.model.pipelines.sizes import require_multiple
from core.service.engines.capabilities import Capabilities
from core.service.engines.preset import PipelineDownload

ControlType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]


def controlnet_part(control_type: str) -> str:
    """Where the ControlNet of a type is in the weights folder."""
    return f"controlnet/{control_type}"


class TextToVideoZeroPreset(PipelinePreset):
    """preset.json of an engine `text2video_zero`."""

    control: tuple[ControlType, ...] = Field(
        default=(), description="Types of control video; the ControlNet of each is in controlnet/TYPE of the weights."
    )

    t0: float = Field(default=0.88, ge=0.0, le=1.0, description="The parameter `t0` of requests that give none.")
    t1: float = Field(default=0.94, ge=0.0, le=1.0, description="The parameter `t1`, above `t0`.")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=("negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps"),
            control=self.control,
            length_of_input=True,
            size=self.size,
            prompt_changes=True,
            reseeds=True,
            endless=True,
        )

    @model_validator(mode="after")
    def _noise_levels_in_order(self) -> "TextToVideoZeroPreset":
        if self.t1 <= self.t0:
            raise ValueError(f"t1: must be above t0, which is {self.t0:g}")
        return self

    @model_validator(mode="after")
    def _own_size_is_possible(self) -> "TextToVideoZeroPreset":
        """The preset's own size follows its rule."""
        if self.size is not None:
            require_multiple(self.width, self.height, self.size.multiple_of)
        return self

    @model_validator(mode="after")
    def _every_control_can_be_pulled(self) -> "TextToVideoZeroPreset":
        """Raises ValueError for a type whose ControlNet `longtake pull NAME --with TYPE` would not install."""
        if isinstance(self.download, PipelineDownload):
            optional = self.download.optional
            for name in self.control:
                if name not in optional or optional[name].into != controlnet_part(name):
                    raise ValueError(f"control: download.optional.{name} must have `into`: {controlnet_part(name)}")
        return self
