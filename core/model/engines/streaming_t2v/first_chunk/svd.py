"""First chunk by Stable Video Diffusion (Blattmann et al. 2023): from a given picture, or from SDXL's of the prompt.

The model was trained on 1024x576: the picture stands in the middle of a black canvas of that size, as in StreamingT2V's
published code, and the same part is cut out of the frames. Knows nothing of windows.

Shapes: P, R picture rows and columns.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from PIL import Image
from torch import Tensor

from core.model.engines.streaming_t2v.first_chunk.pipelines import Placement, StepReporter, first_frames, load
from core.model.engines.streaming_t2v.first_chunk.source import FIRST_CHUNK, FirstChunkRequest
from core.model.networks.pretrained import root_cause
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.pictures import as_picture, crop_and_resize
from core.model.sampling.vae import to_uint8
from core.service.domain.engine import OnStep

VIDEO_MODEL = "stabilityai/stable-video-diffusion-img2vid-xt"
PICTURE_MODEL = "stabilityai/stable-diffusion-xl-base-1.0"
DECODED_AT_ONCE = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Canvas:
    """What the video model reads and draws, and the part of it that is the picture."""

    height: int
    width: int
    picture_width: int

    @staticmethod
    def around(height: int, width: int, *, canvas_height: int = 576, canvas_width: int = 1024) -> "Canvas":
        """For pictures as `height` to `width`, as high as the canvas (wider ones are cut by `crop_and_resize`)."""
        picture_width = min(canvas_width, round(canvas_height * width / height))
        # Equal margins: the picture takes an even share of an even canvas.
        return Canvas(canvas_height, canvas_width, picture_width - picture_width % 2)

    @property
    def margin(self) -> int:
        """Black columns on each side."""
        return (self.width - self.picture_width) // 2

    def put(self, picture_13PR: Tensor) -> Image.Image:
        """A picture [1, 3, P, R] of any size in [0, 1], fitted into its place. Raises NotFinite for NaN in it."""
        fitted = to_uint8(
            crop_and_resize(picture_13PR, self.height, self.picture_width), FiniteCheck("chunk 0"), FIRST_CHUNK
        )
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        canvas[:, self.margin : self.margin + self.picture_width] = fitted[0]
        return Image.fromarray(canvas)

    def take(self, frames_F3PR: Tensor) -> Tensor:
        """The pictures without their margins."""
        return frames_F3PR[..., self.margin : self.margin + self.picture_width]


class SdxlImageGenerator:
    """SDXL, loaded when the first picture is asked for; steps and guidance are its own defaults."""

    def __init__(self, load_pipeline: Callable[[], Any], *, num_steps: int = 50, guidance_scale: float = 5.0) -> None:
        """`load_pipeline` gives a StableDiffusionXLPipeline."""
        self._load_pipeline = load_pipeline
        self.num_steps = num_steps
        self._guidance_scale = guidance_scale

    @cached_property
    def _pipeline(self) -> Any:
        return self._load_pipeline()

    def __call__(self, request: FirstChunkRequest, steps: StepReporter) -> Tensor:
        """A picture [1, 3, P, R] in [0, 1] of the request's prompts."""
        arguments = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "num_inference_steps": self.num_steps,
            "guidance_scale": self._guidance_scale,
            "generator": request.generator,
            "output_type": "pt",
        }
        picture: Tensor = steps.run(self._pipeline, arguments).images
        return picture.float().cpu()


class SvdFirstChunk:
    """The first 16 of the pipeline's frames (25), resampled to the preset's size.

    A request's steps and guidance act on the video model (guidance rises from 1 to it over the frames); prompt and
    negative prompt act on the picture that is painted where none is given.
    """

    def __init__(
        self, pipeline: StableVideoDiffusionPipeline, paint: SdxlImageGenerator, canvas: Canvas, height: int, width: int
    ) -> None:
        """`height`, `width`: of the preset, in pixels."""
        self._pipeline: Any = pipeline
        self._paint = paint
        self._canvas = canvas
        self._size = (height, width)

    def __call__(self, request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        """Pictures [16, 3, P, R] in [0, 1]."""
        num_steps = request.num_inference_steps
        if request.image is not None:
            picture, steps = as_picture(request.image), StepReporter(on_step, num_steps)
        else:
            picture = self._paint(request, StepReporter(on_step, self._paint.num_steps, after=num_steps))
            steps = StepReporter(on_step, num_steps, before=self._paint.num_steps)
        result = steps.run(self._pipeline, self._arguments(request, self._canvas.put(picture)))
        return crop_and_resize(self._canvas.take(first_frames("svd", result.frames)), *self._size)

    def _arguments(self, request: FirstChunkRequest, picture: Image.Image) -> dict[str, Any]:
        return {
            "image": picture,
            "height": self._canvas.height,
            "width": self._canvas.width,
            "num_inference_steps": request.num_inference_steps,
            "max_guidance_scale": request.guidance_scale,
            "decode_chunk_size": DECODED_AT_ONCE,
            "generator": request.generator,
            "output_type": "pt",
        }


def load_svd(height: int, width: int, place: Placement) -> SvdFirstChunk:
    """Load SVD; fetch SDXL, which is loaded when it is needed. Raises PresetError, for SDXL from its first use."""
    fetch_picture_model(place)
    return SvdFirstChunk(
        load_video_model(place),
        SdxlImageGenerator(lambda: load_picture_model(place)),
        Canvas.around(height, width),
        height,
        width,
    )


def load_video_model(place: Placement, repository: str = VIDEO_MODEL) -> Any:
    """SVD's pipeline, from the Hub or a folder. Raises PresetError."""
    return _load("svd", StableVideoDiffusionPipeline, repository, place)


def fetch_picture_model(place: Placement, repository: str = PICTURE_MODEL) -> None:
    """Bring SDXL's files to this machine before any job waits for them, which could take longer than a job may stall.

    Only warns where that fails: jobs that bring their own picture do not need it.
    """
    fetch: Any = StableDiffusionXLPipeline.download
    try:
        fetch(repository, variant=place.variant)
    except (OSError, ValueError) as error:
        logger.warning("%s is not here: first chunks need an image. %s", repository, root_cause(error))


def load_picture_model(place: Placement, repository: str = PICTURE_MODEL) -> Any:
    """SDXL's pipeline, from the Hub or a folder. Raises PresetError."""
    return _load("svd (its picture model)", StableDiffusionXLPipeline, repository, place)


def _load(source: str, kind: Any, repository: str, place: Placement) -> Any:
    return load(source, lambda: kind.from_pretrained(repository, dtype=place.dtype, variant=place.variant), place)
