"""preset.json and request parameters of the engine `sparsectrl`. Torch-free."""

from pydantic import Field

from core.model.pipelines.animation_preset import AnimationPreset
from core.service.engines.capabilities import Capabilities, WindowLengths
from core.service.engines.definition import Parameters


class SparseCtrlPreset(AnimationPreset):
    """preset.json of an engine `sparsectrl`."""

    window_frames: int = Field(
        default=16, ge=2, le=32, description="Frames that are denoised together; the motion adapter's 16."
    )

    @property
    def windows(self) -> WindowLengths:
        return WindowLengths.repeating(self.window_frames)

    @property
    def capabilities(self) -> Capabilities:
        return super().capabilities.model_copy(update={"image": True, "windows": self.windows})


class SparseCtrlParameters(Parameters):
    """`parameters` of a request."""

    conditioning_scale: float = Field(
        default=1.0, ge=0, le=2, description="How strongly a window follows the frame that it begins with."
    )
