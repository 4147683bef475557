"""preset.json of the engine `text2video_zero`. Torch-free."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from core.model.engines.text2video_zero.parameters import MOTION_PARAMETERS
from core.model.pipelines.preset import PipelinePreset
from core.model.pipelines.sizes import require_multiple
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.engines.capabilities import Capabilities, WindowLengths
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
            windows=WindowLengths(first=CHUNK_FRAMES, later=CHUNK_FRAMES),
        )

    def idle_parameters(self, *, has_video: bool, has_control: bool) -> Mapping[str, str]:
        """Motion acts without `control`, background smoothing with it."""
        del has_video
        if has_control:
            return {name: f"with control nothing is moved: {name} would do nothing" for name in MOTION_PARAMETERS}
        return {"background_smoothing": "without control background_smoothing would do nothing"}

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
