"""SparseCtrlEngine: windows whose first frame is the last one of the window before, or an image.

The state's array beside WindowEngine's: `condition`, the latents [C, 1, H, W] of the frame that the next window begins
with, float16, or float32 for an image. There is none before the first window of a video from text.
"""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.engines.sparsectrl.preset import SparseCtrlParameters, SparseCtrlPreset
from core.model.pipelines.complete_spec import guidance_scale_of, num_steps_of
from core.model.pipelines.latents import to_array, to_tensor
from core.model.pipelines.steps import StepReporter
from core.model.pipelines.window_engine import Arrays, Window, WindowEngine, WindowRequest
from core.model.sampling.pictures import as_picture, crop_and_resize
from core.model.sampling.vae import decode_frames, encode_frames
from core.service.domain.engine import FrameHWC, InputMedia, OnStep
from core.service.domain.prompt_schedule import prompt_at
from core.service.domain.schema import JobSpec

CONDITION = "condition"


class SparseCtrlEngine(WindowEngine):
    """Text or image to video by a LatentConditionPipeline."""

    def __init__(self, pipeline: Any, preset: SparseCtrlPreset, device: torch.device, fingerprint: str) -> None:
        super().__init__(device, fingerprint, preset.windows)
        self._pipeline = pipeline
        self._preset = preset

    @torch.no_grad()  # as WindowEngine.next_chunk
    def start_arrays(self, spec: JobSpec, inputs: InputMedia) -> Arrays:
        """The latents of the image, cropped and resized to the video's size. Raises NotFinite."""
        if inputs.image is None:
            return {}
        return {CONDITION: to_array(self._encode(spec, inputs.image), "the image", "encoder", torch.float32)}

    def make_window(self, request: WindowRequest, on_step: OnStep) -> Window:
        """Denoise the next window. Raises what `on_step` raises, and NotFinite."""
        latents = to_array(self._denoise(request, on_step), request.name)
        num_new = self.num_new_frames(request.first_frame)
        return Window(latents[:, -num_new:], {CONDITION: latents[:, -1:]}, num_new)

    def decode(self, spec: JobSpec, latents: NDArray[Any]) -> Tensor:
        """Pictures [F, 3, P, R] in [0, 1]; NaN where the output is not finite."""
        del spec
        try:
            return decode_frames(self._pipeline.vae, to_tensor(latents, self._torch_device)[0])
        finally:
            self._pipeline.maybe_free_model_hooks()  # frees GPU memory if networks are offloaded

    def _encode(self, spec: JobSpec, image: FrameHWC) -> Tensor:
        """Scaled latents [1, C, 1, H, W] of an image: the mean, so that they are always the same."""
        picture_13PR = crop_and_resize(as_picture(image), *self._preset.picture_size(spec)) * 2 - 1
        try:
            return encode_frames(self._pipeline.vae, picture_13PR.to(self._torch_device)).unsqueeze(0)
        finally:
            self._pipeline.maybe_free_model_hooks()

    def _condition(self, request: WindowRequest) -> tuple[Tensor, float]:
        """The frame that the window begins with [1, C, 1, H, W] and how strongly; with none, any frame and 0."""
        if CONDITION in request.arrays:
            scale = SparseCtrlParameters.model_validate(request.spec.parameters).conditioning_scale
            return to_tensor(request.arrays[CONDITION], self._torch_device), scale
        height, width = self._preset.picture_size(request.spec)
        factor, channels = self._pipeline.vae_scale_factor, self._pipeline.unet.config.in_channels
        return torch.zeros((1, channels, 1, height // factor, width // factor), device=self._torch_device), 0.0

    def _denoise(self, request: WindowRequest, on_step: OnStep) -> Tensor:
        """Latents [1, C, F, H, W] of all frames of the window."""
        spec = request.spec
        (height, width), (condition, scale) = self._preset.picture_size(spec), self._condition(request)
        num_steps = num_steps_of(spec)
        arguments = {
            "prompt": prompt_at(spec, request.first_frame),
            "negative_prompt": spec.negative_prompt,
            "num_frames": self._preset.window_frames,
            "height": height,
            "width": width,
            "num_inference_steps": num_steps,
            "guidance_scale": guidance_scale_of(spec),
            "generator": request.generator,
            "conditioning_frames": condition,
            "controlnet_frame_indices": [0],
            "controlnet_conditioning_scale": scale,
            "output_type": "latent",
        }
        latents_1CFHW: Tensor = StepReporter(on_step, num_steps).run(self._pipeline, arguments).frames
        return latents_1CFHW
