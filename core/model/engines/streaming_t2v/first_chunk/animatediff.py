"""First chunk by AnimateDiff (Guo et al. 2024): Stable Diffusion 1.5 fine-tuned on photographs, with a motion adapter.

Scheduler, sizes and negative prompt are those of StreamingT2V's published code.
"""

from typing import Any

from diffusers.models.unets.unet_motion_model import MotionAdapter
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest, first_frames, refuse_image
from core.model.pipelines.animatediff import SCHEDULE
from core.model.pipelines.loading import Placement, load
from core.model.pipelines.steps import StepReporter
from core.model.sampling.pictures import crop_and_resize
from core.service.domain.engine import OnStep
from core.service.domain.frame_plan import CHUNK_FRAMES

BASE = "SG161222/Realistic_Vision_V5.1_noVAE"
ADAPTER = "guoyww/animatediff-motion-adapter-v1-5-2"
NEGATIVE_PROMPT = "bad quality, worse quality"
"""If a request has none; the published code always uses it."""


class AnimateDiffFirstChunk:
    """16 frames at the pipeline's own size (512x512), resized to the preset's."""

    def __init__(self, pipeline: AnimateDiffPipeline, height: int, width: int) -> None:
        """`height`, `width`: the preset's, in pixels."""
        self.pipeline: Any = pipeline
        self._size = (height, width)

    def __call__(self, request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        """Pictures [16, 3, P, R] in [0, 1]."""
        refuse_image(request)
        arguments = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt or NEGATIVE_PROMPT,
            "num_frames": CHUNK_FRAMES,
            "num_inference_steps": request.num_inference_steps,
            "guidance_scale": request.guidance_scale,
            "generator": request.generator,
            "output_type": "pt",
        }
        result = StepReporter(on_step, request.num_inference_steps).run(self.pipeline, arguments)
        return crop_and_resize(first_frames("animatediff", result.frames), *self._size)


def load_animatediff(
    height: int, width: int, placement: Placement, *, base: str = BASE, adapter: str = ADAPTER
) -> AnimateDiffFirstChunk:
    """Load base model and motion adapter by Hub ids or folders. Raises PresetError."""

    def make() -> Any:
        motion: Any = MotionAdapter.from_pretrained(adapter, dtype=placement.dtype)
        scheduler: Any = DDIMScheduler.from_pretrained(base, subfolder="scheduler", **SCHEDULE)
        pipeline: Any = AnimateDiffPipeline.from_pretrained(
            base, motion_adapter=motion, scheduler=scheduler, dtype=placement.dtype
        )
        pipeline.vae.enable_slicing()
        return pipeline

    return AnimateDiffFirstChunk(load("the first-chunk source animatediff", make, placement), height, width)
