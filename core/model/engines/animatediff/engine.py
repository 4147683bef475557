"""AnimateDiffEngine: windows of many frames, each going on from the last frames of the one before.

The state's arrays beside WindowEngine's: `past_latents` (the frames that the next window repeats) and `past_noise`
(initial noise of the last context; after a branch only of these frames), float16 [C, F, H, W].
"""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.engines.animatediff.preset import AnimateDiffParameters, AnimateDiffPreset
from core.model.engines.animatediff.sampling import NoiseRule, RepeatedFrames
from core.model.pipelines.complete_spec import guidance_scale_of, num_steps_of
from core.model.pipelines.latents import to_array, to_tensor
from core.model.pipelines.steps import StepReporter
from core.model.pipelines.window_engine import Arrays, Window, WindowEngine, WindowRequest
from core.model.sampling.vae import decode_frames
from core.service.domain.engine import EngineState, InputMedia, OnStep
from core.service.domain.prompt_schedule import prompts_of_window
from core.service.domain.schema import JobSpec

PAST_LATENTS, PAST_NOISE = "past_latents", "past_noise"


class AnimateDiffEngine(WindowEngine):
    """Text to video by a pipeline whose FreeNoise is enabled."""

    def __init__(self, pipeline: Any, preset: AnimateDiffPreset, device: torch.device, fingerprint: str) -> None:
        super().__init__(device, fingerprint, preset.windows)
        self._pipeline = pipeline
        self._preset = preset

    def start_arrays(self, spec: JobSpec, inputs: InputMedia) -> Arrays:
        """Nothing: a video is made of its text alone."""
        del spec, inputs
        return {}

    def reseeded(self, state: EngineState, seed: int) -> EngineState:
        """Later windows go on from the same frames, with new noise."""
        arrays = dict(super().reseeded(state, seed).arrays)
        if PAST_NOISE in arrays:
            arrays[PAST_NOISE] = arrays[PAST_NOISE][:, -self._preset.overlap_frames :]
        return EngineState(state.frames_done, arrays)

    def make_window(self, request: WindowRequest, on_step: OnStep) -> Window:
        """Denoise the next window. Raises what `on_step` raises, and NotFinite."""
        rule = self._noise_rule(request.spec)
        noise_1CFHW = self._noise(request, rule)
        latents_1CFHW = self._denoise(request, noise_1CFHW, on_step)
        latents = to_array(latents_1CFHW, request.name)
        arrays = {
            PAST_LATENTS: latents[:, -self._preset.overlap_frames :],
            PAST_NOISE: to_array(noise_1CFHW[:, :, -rule.context_length :], request.name),
        }
        num_new = self.num_new_frames(request.first_frame)
        return Window(latents[:, -num_new:], arrays, num_new)

    def decode(self, spec: JobSpec, latents: NDArray[Any]) -> Tensor:
        """Pictures [F, 3, P, R] in [0, 1]; NaN where the output is not finite."""
        del spec
        try:
            return decode_frames(self._pipeline.vae, to_tensor(latents, self._torch_device)[0])
        finally:
            self._pipeline.maybe_free_model_hooks()  # frees GPU memory if networks are offloaded

    def _noise_rule(self, spec: JobSpec) -> NoiseRule:
        parameters = AnimateDiffParameters.model_validate(spec.parameters)
        return NoiseRule(self._preset.context_length, self._preset.context_stride, parameters.noise == "shuffled")

    def _noise(self, request: WindowRequest, rule: NoiseRule) -> Tensor:
        """Initial noise [1, C, F, H, W] of a whole window, float32, on the CPU."""
        if PAST_NOISE not in request.arrays:
            return rule.first(self._latent_shape(request.spec), request.generator)
        past = to_tensor(request.arrays[PAST_NOISE], torch.device("cpu"))
        noise = rule.next(past, self.num_new_frames(request.first_frame), request.generator)
        return noise[:, :, -self._preset.window_frames :]

    def _latent_shape(self, spec: JobSpec) -> tuple[int, ...]:
        """[1, C, F, H, W] of a window."""
        height, width = self._preset.picture_size(spec)
        factor, channels = self._pipeline.vae_scale_factor, self._pipeline.unet.config.in_channels
        return (1, channels, self._preset.window_frames, height // factor, width // factor)

    def _denoise(self, request: WindowRequest, noise_1CFHW: Tensor, on_step: OnStep) -> Tensor:
        """Latents [1, C, F, H, W] of all frames of the window."""
        spec, noise_1CFHW = request.spec, noise_1CFHW.to(self._torch_device)
        num_steps = num_steps_of(spec)
        repeated = self._repeated(request, noise_1CFHW, num_steps)
        height, width = self._preset.picture_size(spec)
        arguments = {
            "prompt": self._prompt(request),
            "negative_prompt": spec.negative_prompt,
            "num_frames": self._preset.window_frames,
            "height": height,
            "width": width,
            "num_inference_steps": num_steps,
            "guidance_scale": guidance_scale_of(spec),
            "latents": noise_1CFHW.to(self._pipeline.unet.dtype),
            "output_type": "latent",
        }
        change = None if repeated is None else repeated.after_step
        latents_1CFHW: Tensor = (
            StepReporter(on_step, num_steps, change_latents=change).run(self._pipeline, arguments).frames
        )
        return latents_1CFHW

    def _repeated(self, request: WindowRequest, noise_1CFHW: Tensor, num_steps: int) -> RepeatedFrames | None:
        """The frames that the window repeats; none for the first one."""
        if PAST_LATENTS not in request.arrays:
            return None
        scheduler = self._pipeline.scheduler
        scheduler.set_timesteps(num_steps, device=self._torch_device)
        past = to_tensor(request.arrays[PAST_LATENTS], self._torch_device)
        return RepeatedFrames(scheduler, past, noise_1CFHW[:, :, : past.shape[2]])

    def _prompt(self, request: WindowRequest) -> str | dict[int, str]:
        """The window's prompt; where it changes, the prompts of its frames, between which the library goes over."""
        spec, first = request.spec, request.first_frame
        if first == 0:
            return spec.prompt
        before = first - self.num_new_frames(first)
        old, new = prompts_of_window(spec, first, 0 if before < self._preset.window_frames else before)
        if old == new:
            return new
        return {0: old, self._preset.overlap_frames - 1: old, self._preset.window_frames - 1: new}
