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
    def capabilities(self) -> Capabilities:
        windows = WindowLengths.repeating(self.window_frames)
        return super().capabilities.model_copy(update={"image": True, "windows": windows})


class SparseCtrlParameters(Parameters):
    """`parameters` of a request."""

    conditioning_scale: float = Field(
        default=1.0, ge=0, le=2, description="How strongly a window follows the frame that it begins with."
    )
