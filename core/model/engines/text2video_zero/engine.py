"""Text2Video-Zero as an engine: windows of 16 frames, all of which read frame 0.

Frame 0 is denoised again with every window, so a window needs its noisy latents and nothing of the frames between.
The state's arrays: `generator`; and, float32, `first_latents`, frame 0 where all frames begin to be denoised together
(pure noise in jobs with `control`), and `moving_latents`, frame 0 less noisy, which the motion field moves (only in
jobs without). A chunk is a window, of which fewer frames are kept at the video's end.

Shapes: C latent channels, F frames, H, W latent rows and columns, P, R picture rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.engines.text2video_zero.control import background, control_maps, frames_with_first
from core.model.engines.text2video_zero.motion import Motion, moved
from core.model.engines.text2video_zero.parameters import TextToVideoZeroParameters
from core.model.engines.text2video_zero.preset import TextToVideoZeroPreset
from core.model.engines.text2video_zero.sampling import Change, Control, Denoiser, Steps, denoised, motion_steps
from core.model.pipelines.complete_spec import guidance_scale_of, num_steps_of
from core.model.pipelines.loading import Placement
from core.model.pipelines.placed_engine import PlacedEngine
from core.model.pipelines.stable_diffusion import TextReader, TextStates, on_device
from core.model.pipelines.window_engine import GENERATOR, Arrays, WindowRequest
from core.model.sampling.config import Spacing
from core.model.sampling.device import DeviceTimer
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.lru_cache import LruCache
from core.model.sampling.noise import restored, seeded, state_of
from core.model.sampling.schedules import NoiseSchedule, spaced_timesteps
from core.model.sampling.vae import decode_frames, downsampling, to_uint8
from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    EngineChunk,
    EngineState,
    FramesTHWC,
    InputMedia,
    OnStep,
)
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.prompt_schedule import easing, prompts_of_window
from core.service.domain.schema import JobSpec

FIRST, MOVING = "first_latents", "moving_latents"
_STAGE = "window"
_CACHED_TEXTS = 8


@dataclass(frozen=True)
class ZeroModels:
    """What the engine computes with."""

    unet: Any
    """Its frames read the first one (`attend_to_first_frames`)."""
    vae: Any
    texts: TextReader
    controlnet: Callable[[str], Any]
    """The ControlNet of a type, on the CPU if networks are offloaded. Raises PresetError."""
    schedule: NoiseSchedule
    spacing: Spacing
    steps_offset: int
    placement: Placement


class TextToVideoZeroEngine(PlacedEngine):
    """Makes windows of 16 frames."""

    def __init__(self, models: ZeroModels, preset: TextToVideoZeroPreset, fingerprint: str) -> None:
        """`preset` has the size of jobs that name none."""
        super().__init__(models.placement.device, fingerprint)
        self.models = models
        self._preset = preset
        self._texts: LruCache[tuple[str, bool], TextStates] = LruCache(_CACHED_TEXTS)

    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        """The state before chunk 0. A control video is read window by window."""
        del inputs
        return EngineState(0, {GENERATOR: state_of(seeded(spec.seed))})

    def reseeded(self, state: EngineState, seed: int) -> EngineState:
        """Later frames draw anew. In jobs with `control` nothing is drawn after frame 0, so its latents are."""
        arrays = {**state.arrays, GENERATOR: state_of(seeded(seed))}
        if MOVING not in arrays:
            arrays.pop(FIRST, None)
        return EngineState(state.frames_done, arrays)

    @torch.inference_mode()
    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        """The chunk after `state`: up to 16 frames, fewer only at the video's end.

        Raises what `on_step` raises, errors.PromptTooLong, errors.PresetError for a ControlNet that cannot be loaded,
        and errors.NotFinite, naming the chunk.
        """
        first = state.frames_done
        wanted = min(CHUNK_FRAMES, spec.length - first)
        if wanted <= 0:
            raise ValueError(f"all {spec.length} frames are done already")
        watch, generator, name = DeviceTimer(), restored(state.arrays[GENERATOR]), f"chunk {first // CHUNK_FRAMES}"
        request = WindowRequest(spec, first, state.arrays, generator, inputs, name)
        latents, arrays = watch.run("denoise", lambda: self.make_window(request, on_step))
        frames = watch.run("decode", lambda: self._decoded(latents, name))[:wanted]
        after = EngineState(first + wanted, {**arrays, GENERATOR: state_of(generator)})
        return EngineChunk(frames, after, dict(watch.seconds))

    def make_window(self, request: WindowRequest, on_step: OnStep) -> tuple[Tensor, Arrays]:
        """Latents [F, C, H, W] of 16 frames, fewer where the control video ends, and what the next window needs.

        Raises as `next_chunk` does.
        """
        make = self._follow_motion if request.spec.control is None else self._follow_control
        latents, kept = make(request, on_step)
        arrays = {name: _finite(array, request.name) for name, array in kept.items()}
        return latents[1:] if request.first_frame else latents, arrays

    def _decoded(self, latents_FCHW: Tensor, name: str) -> FramesTHWC:
        check = FiniteCheck(name)
        check.add(_STAGE, latents_FCHW)
        with on_device(self.models.placement, self.models.vae):
            return to_uint8(decode_frames(self.models.vae, latents_FCHW.transpose(0, 1)), check)

    def _follow_motion(self, request: WindowRequest, on_step: OnStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents of frame 0 and of the others, moved from it."""
        parameters = parameters_of(request.spec)
        steps = self._motion_steps(request.spec, parameters)
        indices = range(max(request.first_frame, 1), request.first_frame + CHUNK_FRAMES)
        denoiser = self._denoiser(request, len(indices) + 1)
        alone = 0 if FIRST in request.arrays else steps.moving
        report = _counted(on_step, 0, alone + len(steps.timesteps) - steps.joint)
        with on_device(self.models.placement, self.models.unet):
            first, moving = self._first_frame(request, denoiser, steps, report)
            others = moved(moving, indices, _motion(parameters))
            x = torch.cat([first, steps.renoised(others, self._drawn(request.generator, others.shape))])
            together = range(steps.joint, len(steps.timesteps))
            latents = denoised(denoiser, x, steps, together, _counted(report, alone))
        return latents, {FIRST: first, MOVING: moving}

    def _first_frame(
        self, request: WindowRequest, denoiser: Denoiser, steps: Steps, report: OnStep
    ) -> tuple[Tensor, Tensor]:
        """Latents [1, C, H, W] of frame 0 before the steps `joint` and `moving`: made once per job."""
        if FIRST in request.arrays:
            return self._tensor(request.arrays[FIRST]), self._tensor(request.arrays[MOVING])
        x, alone = self._drawn(request.generator, self._latent_shape(request.spec)), denoiser.for_first_frame()
        first = denoised(alone, x, steps, range(steps.joint), report)
        moving = denoised(alone, first, steps, range(steps.joint, steps.moving), _counted(report, steps.joint))
        return first, moving

    def _follow_control(self, request: WindowRequest, on_step: OnStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents of frame 0 and of the others, from the same noise."""
        video, timesteps = request.inputs.video, self._timesteps(request.spec)
        assert video is not None, "the service gives a job with `control` its video"
        steps = Steps(self.models.schedule, timesteps, 0, 0)
        frames = frames_with_first(video, request.first_frame, CHUNK_FRAMES)
        first = self._noise_of_first(request)
        smooth = self._smoothing(parameters_of(request.spec).background_smoothing, frames, first.shape)
        control = self._control(request.spec, frames)
        denoiser = self._denoiser(request, len(frames), control)
        x = first.expand(len(frames), -1, -1, -1)
        with on_device(self.models.placement, self.models.unet, control.network):
            latents = denoised(denoiser, x, steps, range(len(timesteps)), on_step, smooth)
        return latents, {FIRST: first}

    def _noise_of_first(self, request: WindowRequest) -> Tensor:
        if FIRST in request.arrays:
            return self._tensor(request.arrays[FIRST])
        return self._drawn(request.generator, self._latent_shape(request.spec))

    def _control(self, spec: JobSpec, frames: FramesTHWC) -> Control:
        asked = spec.control
        assert asked is not None, "asked for above"
        network = self.models.controlnet(asked.type)
        maps = control_maps(asked.type, frames).to(self.models.placement.device)
        return Control(network, maps, asked.scale, asked.start, asked.end)

    def _smoothing(self, share: float, frames: FramesTHWC, shape_1CHW: tuple[int, ...]) -> Change | None:
        """Pulls the background of all frames to that of frame 0 (section 3.3.3)."""
        if share == 0:
            return None
        kept = background(frames, *shape_1CHW[-2:]).to(self.models.placement.device) * share
        return lambda x_FCHW: torch.lerp(x_FCHW, x_FCHW[:1].expand_as(x_FCHW), kept.expand_as(x_FCHW))

    def _denoiser(self, request: WindowRequest, num_frames: int, control: Control | None = None) -> Denoiser:
        spec, (height, width) = request.spec, self._preset.picture_size(request.spec)
        guidance = guidance_scale_of(spec)
        old, new = prompts_of_window(spec, request.first_frame, request.first_frame - CHUNK_FRAMES)
        text = self._states(new, negative=False)
        if old != new:  # frame 0, which is shown no more, has the new prompt alone
            text = self._states(old, negative=False).toward(text, torch.tensor([1.0, *_EASING][:num_frames]))
        negative = None if guidance == 1.0 else self._states(spec.negative_prompt, negative=True)
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=self.models.placement.device)
        return Denoiser(self.models.unet, text, negative, guidance, sizes, control)

    def _states(self, text: str, *, negative: bool) -> TextStates:
        """Raises PromptTooLong."""
        reader = self.models.texts

        def read() -> TextStates:
            with on_device(self.models.placement, *reader.networks):
                return reader.negative(text) if negative else reader.prompt(text)

        return self._texts.get((text, negative), read)

    def _motion_steps(self, spec: JobSpec, parameters: TextToVideoZeroParameters) -> Steps:
        return motion_steps(self.models.schedule, self._timesteps(spec), parameters.t0, parameters.t1)

    def _timesteps(self, spec: JobSpec) -> tuple[int, ...]:
        models = self.models
        most = models.schedule.num_train_timesteps
        return spaced_timesteps(models.spacing, num_steps_of(spec), most, models.steps_offset)

    def _latent_shape(self, spec: JobSpec) -> tuple[int, int, int, int]:
        """[1, C, H, W]."""
        factor, (height, width) = downsampling(self.models.vae), self._preset.picture_size(spec)
        return (1, self.models.unet.config.in_channels, height // factor, width // factor)

    def _drawn(self, generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """Standard normal noise, drawn on the CPU."""
        return torch.randn(shape, generator=generator).to(self.models.placement.device)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        """A copy on the device: state arrays are immutable."""
        return torch.from_numpy(array.copy()).to(self.models.placement.device)


_EASING = easing(CHUNK_FRAMES)
"""Share of the new prompt in each frame of a window that goes over to it."""


def parameters_of(spec: JobSpec) -> TextToVideoZeroParameters:
    """`parameters` of a job, with the defaults of those that a record of an older version lacks."""
    return TextToVideoZeroParameters.model_validate(spec.parameters)


def _motion(parameters: TextToVideoZeroParameters) -> Motion:
    return Motion(parameters.motion_x, parameters.motion_y, parameters.motion_interpolation == "bilinear")


def _finite(latents: Tensor, name: str) -> NDArray[np.float32]:
    """Latents on the CPU. Raises NotFinite."""
    check = FiniteCheck(name)
    check.add(_STAGE, latents)
    array: NDArray[np.float32] = check.to_cpu(latents.contiguous()).numpy()
    return array


def _counted(on_step: OnStep, before: int, total: int | None = None) -> OnStep:
    """A callback for steps after `before` others, of `total` in all; None: those that it is told of."""

    def count(step: int, steps: int) -> None:
        on_step(before + step, steps if total is None else total)

    return count
