"""First chunk by Stable Video Diffusion (Blattmann et al. 2023), from the input image or one by SDXL.

The model was trained at 1024x576: as in StreamingT2V's published code, the image is centred on a black canvas of that
size, and the frames are cropped to it.

Shapes: P, R picture rows and columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from PIL import Image
from torch import Tensor

from core.model.engines.streaming_t2v.first_chunk.source import FIRST_CHUNK, FirstChunkRequest, first_frames
from core.model.pipelines.image_model import ImageGenerator, fetch_image_model, load_image_model
from core.model.pipelines.loading import Placement, load
from core.model.pipelines.steps import StepReporter
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.pictures import as_picture, crop_and_resize
from core.model.sampling.vae import to_uint8
from core.service.domain.engine import OnStep

VIDEO_MODEL = "stabilityai/stable-video-diffusion-img2vid-xt"
IMAGE_MODEL = "stabilityai/stable-diffusion-xl-base-1.0"
DECODED_AT_ONCE = 8


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


class SvdFirstChunk:
    """The first 16 of the pipeline's 25 frames, resized to the preset's size.

    A request's steps and guidance apply to the video model (guidance rises from 1 over the frames); its prompts apply
    to the image that SDXL generates if the request has none.
    """

    def __init__(
        self,
        pipeline: StableVideoDiffusionPipeline,
        image_generator: ImageGenerator,
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
            picture_steps = self._image_generator.num_steps
            picture = self._image_generator(
                request.prompt,
                request.negative_prompt,
                request.generator,
                StepReporter(on_step, picture_steps, steps_after=num_steps),
            )
            steps = StepReporter(on_step, num_steps, steps_before=picture_steps)
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
    fetch_image_model(IMAGE_MODEL, placement)
    return SvdFirstChunk(
        load_video_model(placement),
        ImageGenerator(lambda: load_image_model(IMAGE_MODEL, placement)),
        Canvas.for_size(height, width),
        height,
        width,
    )


def load_video_model(placement: Placement, repository: str = VIDEO_MODEL) -> Any:
    """SVD's pipeline, from the Hub or a folder. Raises PresetError."""

    def make() -> Any:
        kind: Any = StableVideoDiffusionPipeline
        return kind.from_pretrained(repository, dtype=placement.dtype, variant=placement.variant)

    return load("the first-chunk source svd", make, placement)
