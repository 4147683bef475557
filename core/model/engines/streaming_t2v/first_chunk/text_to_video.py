"""First chunk by any diffusers text-to-video pipeline, from a Hub id or a folder.

A pipeline that does not accept the arguments of a request is refused when it is loaded.
"""

from typing import Any

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest, first_frames, refuse_image
from core.model.pipelines.loading import Placement, load
from core.model.pipelines.steps import StepReporter, parameters_of
from core.model.sampling.pictures import crop_and_resize
from core.service.domain.engine import OnStep
from core.service.domain.errors import PresetError
from core.service.domain.frame_plan import CHUNK_FRAMES

REQUIRED_ARGUMENTS = frozenset(
    {
        "prompt",
        "negative_prompt",
        "num_frames",
        "num_inference_steps",
        "guidance_scale",
        "generator",
        "output_type",
    }
)


class TextToVideoFirstChunk:
    """The first 16 frames at the pipeline's own size, resized to the preset's."""

    def __init__(self, source: str, pipeline: DiffusionPipeline, height: int, width: int) -> None:
        """`source`: its name, for errors. Raises PresetError if the pipeline lacks an argument."""
        missing = sorted(REQUIRED_ARGUMENTS - parameters_of(pipeline))
        if missing:
            raise PresetError(
                f"{source} ({type(pipeline).__name__}) does not take {', '.join(missing)}",
                fix="choose a text-to-video pipeline",
            )
        self._source = source
        self._pipeline: Any = pipeline
        self._size = (height, width)

    def __call__(self, request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        """Pictures [16, 3, P, R] in [0, 1]."""
        refuse_image(request)
        arguments = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "num_frames": num_frames_for(self._pipeline),
            "num_inference_steps": request.num_inference_steps,
            "guidance_scale": request.guidance_scale,
            "generator": request.generator,
            "output_type": "pt",
        }
        result = StepReporter(on_step, request.num_inference_steps).run(self._pipeline, arguments)
        return crop_and_resize(first_frames(self._source, result.frames), *self._size)


def num_frames_for(pipeline: Any) -> int:
    """Fewest frames >= 16 that the pipeline accepts: causal video VAEs take a multiple of their factor, plus 1."""
    for name in ("vae_scale_factor_temporal", "vae_temporal_compression_ratio"):
        factor = getattr(pipeline, name, None)
        if factor:
            return 1 + -(-(CHUNK_FRAMES - 1) // factor) * factor
    return CHUNK_FRAMES


def load_text_to_video(repository: str, height: int, width: int, placement: Placement) -> TextToVideoFirstChunk:
    """Load a pipeline by Hub id, "ORG/NAME@REVISION", or folder. Raises PresetError."""
    name, _, revision = repository.partition("@")

    def make() -> Any:
        return DiffusionPipeline.from_pretrained(name, revision=revision or None, dtype=placement.dtype)

    return TextToVideoFirstChunk(
        repository, load(f"the first-chunk source {repository}", make, placement), height, width
    )
