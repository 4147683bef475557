"""preset.json and request parameters of the engine `sparsectrl`. Torch-free."""

from pydantic import Field

from core.model.pipelines.preset import PipelinePreset
from core.service.engines.capabilities import Capabilities, SizeRule
from core.service.engines.definition import Parameters


class SparseCtrlPreset(PipelinePreset):
    """preset.json of an engine `sparsectrl`."""

    window_frames: int = Field(
        default=16, ge=2, le=32, description="Frames that are denoised together; the motion adapter's 16."
    )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=("negative_prompt", "seed", "fps", "guidance_scale", "num_inference_steps"),
            image=True,
            size=SizeRule(multiple_of=8, min_side=256, max_side=1024, max_pixels=768 * 768),
            prompt_changes=True,
            reseeds=True,
            endless=True,
        )


class SparseCtrlParameters(Parameters):
    """`parameters` of a request."""

    conditioning_scale: float = Field(
        default=1.0, ge=0, le=2, description="How strongly a window follows the frame that it begins with."
    )
