"""Windows that begin with a given frame: the request's image or one made from its prompt, then the last frame made.

Shapes: F frames, P, R picture rows and columns.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.model.pipelines.complete_spec import num_steps_of
from core.model.pipelines.image_model import ImageGenerator
from core.model.pipelines.latents import to_array, to_tensor
from core.model.pipelines.preset import ImageVideoPreset
from core.model.pipelines.steps import StepReporter
from core.model.pipelines.window_engine import Arrays, Window, WindowEngine, WindowRequest
from core.model.sampling.finite import FiniteCheck, clamped
from core.model.sampling.pictures import as_picture, crop_and_resize
from core.model.sampling.vae import to_uint8
from core.service.domain.engine import FrameHWC, FramesTHWC, InputMedia, OnStep
from core.service.domain.errors import PresetError
from core.service.domain.schema import JobSpec

CONDITIONING = "conditioning"
"""Array of the state: the frame that the next window begins with, uint8 [P, R, 3]. None before a window without one."""
STAGE = "window"
"""Name of denoising in errors.NotFinite."""


@dataclass(frozen=True)
class ImageVideoModel:
    """An image-to-video pipeline with its preset."""

    pipeline: Any
    preset: ImageVideoPreset
    device: torch.device
    fingerprint: str
    image_generator: ImageGenerator | None = None
    """Makes the first frame of jobs without an image."""


class ImageWindowEngine(WindowEngine):
    """Runs an image-to-video pipeline window by window. The first frame of later windows repeats the past."""

    def __init__(self, model: ImageVideoModel) -> None:
        super().__init__(model.device, model.fingerprint, model.preset.windows)
        self.pipeline, self.preset = model.pipeline, model.preset
        self.torch_device, self._image_generator = model.device, model.image_generator
        self._vae_dtype = model.pipeline.vae.dtype

    @abstractmethod
    def arguments(self, request: WindowRequest) -> Mapping[str, Any]:
        """Arguments of the pipeline beside image, size, length, steps, generator and kind of output."""

    @abstractmethod
    def decode_latents(self, latents: Tensor) -> Tensor:
        """The pipeline's latents of a window -> pictures [1, 3, F, P, R] in [-1, 1]."""

    def start_arrays(self, spec: JobSpec, inputs: InputMedia) -> Arrays:
        """The image at the video's size, if there is one."""
        if inputs.image is None:
            return {}
        return {CONDITIONING: fitted(as_picture(inputs.image), *self.preset.picture_size(spec))}

    def arrays_of_frames(self, frames: FramesTHWC) -> Arrays:
        """The last frame."""
        return {CONDITIONING: frames[-1]}

    def make_window(self, request: WindowRequest, on_step: OnStep) -> Window:
        """Denoise the next window. Raises what `on_step` raises, and NotFinite."""
        given = request.arrays.get(CONDITIONING)
        frame, steps_before = (given, 0) if given is not None else self._made_from_prompt(request, on_step)
        steps = StepReporter(on_step, num_steps_of(request.spec), steps_before, chunk=request.name, stage=STAGE)
        if self.pipeline.vae.dtype != self._vae_dtype:  # it encodes in float32, and an error just then left it so
            self.pipeline.vae.to(self._vae_dtype)
        latents = steps.run(self.pipeline, self._all_arguments(request, frame)).frames
        return Window(to_array(latents, request.name, STAGE), {}, self.num_new_frames(request.first_frame))

    def decode(self, spec: JobSpec, latents: NDArray[Any]) -> Tensor:
        """Pictures [F, 3, P, R] in [0, 1]; NaN where the output is not finite."""
        del spec
        try:
            pictures_13FPR = self.decode_latents(to_tensor(latents, self.torch_device).to(self._vae_dtype))
        finally:
            self.pipeline.maybe_free_model_hooks()  # frees GPU memory if networks are offloaded
        return clamped(pictures_13FPR[0].transpose(0, 1).float() * 0.5 + 0.5)

    def _all_arguments(self, request: WindowRequest, frame: FrameHWC) -> Mapping[str, Any]:
        height, width = self.preset.picture_size(request.spec)
        return {
            "image": Image.fromarray(frame),
            "height": height,
            "width": width,
            "num_frames": self.preset.window_frames,
            "num_inference_steps": num_steps_of(request.spec),
            "generator": request.generator,
            "output_type": "latent",
            **self.arguments(request),
        }

    def _made_from_prompt(self, request: WindowRequest, on_step: OnStep) -> tuple[FrameHWC, int]:
        """The first frame and the steps that it took. Raises PresetError if no image model is configured."""
        generator, spec = self._image_generator, request.spec
        if generator is None:
            raise PresetError("this job has no image, and no image model is configured", fix="set LONGTAKE_IMAGE_MODEL")
        size, num_steps = self.preset.picture_size(spec), generator.num_steps
        steps = StepReporter(
            on_step, num_steps, steps_after=num_steps_of(spec), chunk=request.name, stage="image from the prompt"
        )
        picture = generator(spec.prompt, spec.negative_prompt, request.generator, steps, size)
        return fitted(picture, *size, request.name), num_steps


def fitted(picture_13PR: Tensor, height: int, width: int, made_in: str = "the image") -> FrameHWC:
    """A picture [1, 3, P, R] in [0, 1], centre-cropped and resized. Raises NotFinite, which names `made_in`."""
    frames: FramesTHWC = to_uint8(crop_and_resize(picture_13PR, height, width), FiniteCheck(made_in))
    return frames[0]
