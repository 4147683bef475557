"""First chunk by Stable Video Diffusion (Blattmann et al. 2023), from the input image or one by SDXL.

The model was trained at 1024x576: as in StreamingT2V's published code, the image is centred on a black canvas of that
size, and the frames are cropped to it.

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

from core.model.engines.streaming_t2v.first_chunk.source import FIRST_CHUNK, FirstChunkRequest, first_frames
from core.model.networks.pretrained import root_cause
from core.model.pipelines.loading import Placement, load
from core.model.pipelines.steps import StepReporter
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
    """The video model's frame size in pixels, and the width of the picture centred on it."""

    height: int
    width: int
    picture_width: int

    @staticmethod
    def for_size(height: int, width: int, *, canvas_height: int = 576, canvas_width: int = 1024) -> "Canvas":
        """For pictures with the aspect ratio of `height` x `width`, as high as the canvas and at most as wide."""
        picture_width = min(canvas_width, round(canvas_height * width / height))
        # An even width, for equal margins.
        return Canvas(canvas_height, canvas_width, picture_width - picture_width % 2)

    @property
    def margin(self) -> int:
        """Black columns on each side."""
        return (self.width - self.picture_width) // 2

    def paste(self, picture_13PR: Tensor) -> Image.Image:
        """Resize a picture [1, 3, P, R] in [0, 1] and paste it on the canvas. Raises NotFinite for NaN."""
        fitted = to_uint8(
            crop_and_resize(picture_13PR, self.height, self.picture_width), FiniteCheck("chunk 0"), FIRST_CHUNK
        )
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        canvas[:, self.margin : self.margin + self.picture_width] = fitted[0]
        return Image.fromarray(canvas)

    def crop(self, frames_F3PR: Tensor) -> Tensor:
        """Frames without their margins."""
        return frames_F3PR[..., self.margin : self.margin + self.picture_width]


class SdxlImageGenerator:
    """SDXL with its default steps and guidance, loaded at its first use."""

    def __init__(self, load_pipeline: Callable[[], Any], *, num_steps: int = 50, guidance_scale: float = 5.0) -> None:
        """`load_pipeline` returns a StableDiffusionXLPipeline."""
        self._load_pipeline = load_pipeline
        self.num_steps = num_steps
        self._guidance_scale = guidance_scale

    @cached_property
    def _pipeline(self) -> Any:
        return self._load_pipeline()

    def __call__(self, request: FirstChunkRequest, steps: StepReporter) -> Tensor:
        """A picture [1, 3, P, R] in [0, 1] for the request's prompts."""
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
    """The first 16 of the pipeline's 25 frames, resized to the preset's size.

    A request's steps and guidance apply to the video model (guidance rises from 1 over the frames); its prompts apply
    to the image that SDXL generates if the request has none.
    """

    def __init__(
        self,
        pipeline: StableVideoDiffusionPipeline,
        image_generator: SdxlImageGenerator,
        canvas: Canvas,
        height: int,
        width: int,
    ) -> None:
        """`height`, `width`: the preset's, in pixels."""
        self._pipeline: Any = pipeline
        self._image_generator = image_generator
        self._canvas = canvas
        self._size = (height, width)

    def __call__(self, request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        """Pictures [16, 3, P, R] in [0, 1]."""
        num_steps = request.num_inference_steps
        if request.image is not None:
            picture, steps = as_picture(request.image), StepReporter(on_step, num_steps)
        else:
            picture = self._image_generator(
                request, StepReporter(on_step, self._image_generator.num_steps, steps_after=num_steps)
            )
            steps = StepReporter(on_step, num_steps, steps_before=self._image_generator.num_steps)
        result = steps.run(self._pipeline, self._arguments(request, self._canvas.paste(picture)))
        return crop_and_resize(self._canvas.crop(first_frames("svd", result.frames)), *self._size)

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


def load_svd(height: int, width: int, placement: Placement) -> SvdFirstChunk:
    """Load SVD and download SDXL, which is loaded at its first use. Raises PresetError, for SDXL at its first use."""
    fetch_picture_model(placement)
    return SvdFirstChunk(
        load_video_model(placement),
        SdxlImageGenerator(lambda: load_picture_model(placement)),
        Canvas.for_size(height, width),
        height,
        width,
    )


def load_video_model(placement: Placement, repository: str = VIDEO_MODEL) -> Any:
    """SVD's pipeline, from the Hub or a folder. Raises PresetError."""
    return _load("svd", StableVideoDiffusionPipeline, repository, placement)


def fetch_picture_model(placement: Placement, repository: str = PICTURE_MODEL) -> None:
    """Download SDXL's files before a job needs them: a download can take longer than a job may stall.

    Logs a warning if that fails: jobs with an input image do not need SDXL.
    """
    fetch: Any = StableDiffusionXLPipeline.download
    try:
        fetch(repository, variant=placement.variant)
    except (OSError, ValueError) as error:
        logger.warning("%s is not available, so requests need an image: %s", repository, root_cause(error))


def load_picture_model(placement: Placement, repository: str = PICTURE_MODEL) -> Any:
    """SDXL's pipeline, from the Hub or a folder. Raises PresetError."""
    return _load("svd (its picture model)", StableDiffusionXLPipeline, repository, placement)


def _load(source: str, kind: Any, repository: str, placement: Placement) -> Any:
    def make() -> Any:
        return kind.from_pretrained(repository, dtype=placement.dtype, variant=placement.variant)

    return load(f"the first-chunk source {source}", make, placement)
