"""StreamingT2VEngine: makes a video chunk by chunk, each from a small state that any worker can continue.

Implements core.service.domain.engine.Engine with loaded networks. Knows no files, queues or storage.

The state's arrays: `generator` (the windows' CPU generator), `conditioning_frames` (last 8 decoded frames, float32,
not rounded), `anchor_frame` (frame 0), `surplus_frames` (finished frames of the next chunk, uint8); before chunk 0
the input media, `given_image` (uint8, any size) or `given_frames` (16 of the preset's size, uint8).

Shapes: C latent channels, F frames, H, W latent rows and columns, P, R picture rows and columns.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.engines.streaming_t2v.base_first_chunk import BaseFirstChunk
from core.model.engines.streaming_t2v.chunk_state import as_float_array, chunk_name, finished_chunk, with_history
from core.model.engines.streaming_t2v.first_chunk.source import FIRST_CHUNK, FirstChunkRequest, FirstChunkSource
from core.model.engines.streaming_t2v.models import EngineConfig, LoadedModels, ModelLoader
from core.model.engines.streaming_t2v.sampling import (
    VideoContext,
    as_conditioning,
    decode_new_frames,
    easing_context,
    sample_latents,
    window_context,
    window_denoiser,
)
from core.model.engines.streaming_t2v.spec_sampling import sampling_of
from core.model.sampling.device import DeviceTimer, device_name
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.guidance import num_halves
from core.model.sampling.lru_cache import LruCache
from core.model.sampling.noise import restored, seeded, seeded_for, state_of
from core.model.sampling.progress import count_over_windows
from core.model.sampling.vae import downsampling, to_uint8
from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    Engine,
    EngineChunk,
    EngineState,
    FramesTHWC,
    InputMedia,
    OnStep,
    ignore_step,
)
from core.service.domain.frame_plan import CHUNK_FRAMES, CONDITIONING_FRAMES, NEW_FRAMES_PER_WINDOW, num_windows
from core.service.domain.prompt_schedule import easing, prompts_of_window
from core.service.domain.schema import DEFAULT_PROFILE, FirstChunkSampling, JobSpec, Profile

_FIRST_CHUNK_STAGE = "first_chunk"
_CACHED_VIDEOS = 8
_EASING_F = torch.tensor([0.0] * CONDITIONING_FRAMES + easing(NEW_FRAMES_PER_WINDOW))
"""Share of the new prompt in each frame of a window that goes over to it."""


class StreamingT2VEngine(Engine):
    """The published method as an engine: base UNet for chunk 0, then two windows per chunk."""

    def __init__(self, loader: ModelLoader, config: EngineConfig, first_chunk: FirstChunkSource | None = None) -> None:
        """`first_chunk` None: the preset's own base UNet."""
        self._loader = loader
        self._config = config
        self._own_source = first_chunk
        self._texts: LruCache[tuple[str, ...], Tensor] = LruCache(_CACHED_VIDEOS)
        self._contexts: LruCache[tuple[Any, ...], VideoContext] = LruCache(_CACHED_VIDEOS)

    @property
    def fingerprint(self) -> str:
        """What the bytes depend on besides the request: weights, device model, library versions, threads."""
        return self._config.fingerprint

    @property
    def device(self) -> str:
        """Device of the networks, for display: "cpu", or the GPU's name."""
        return device_name(self._loader.device)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run one step of each kind, so that the first request does not wait for lazy initialisation or compilation.

        First-chunk sources of other models are not run.
        """
        configs = self._config.profiles[DEFAULT_PROFILE]
        spec = JobSpec(
            prompt="",
            negative_prompt="",
            num_frames=2 * CHUNK_FRAMES,
            fps=1,
            seed=0,
            model="",
            guidance_scale=configs.windows.guidance_scale,
            num_inference_steps=1,
            profile=DEFAULT_PROFILE,
            first_chunk=FirstChunkSampling(num_inference_steps=1, guidance_scale=configs.first_chunk.guidance_scale),
        )
        black = np.zeros((CHUNK_FRAMES, self._config.height, self._config.width, 3), np.uint8)
        inputs = NO_INPUT_MEDIA if self._own_source is None else InputMedia(frames=black)
        first = self._chunk(spec, self.start(spec, inputs), ignore_step)
        self._chunk(spec, first.state, ignore_step)

    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        """The state before chunk 0: the input media, and the windows' generator, seeded as published.

        Raises ValueError for input frames of another shape than 16 frames of the preset's size.
        """
        arrays: dict[str, NDArray[Any]] = {"generator": state_of(seeded(spec.seed))}
        if inputs.frames is not None:
            expected = (CHUNK_FRAMES, self._config.height, self._config.width, 3)
            if inputs.frames.shape != expected:
                raise ValueError(f"input frames are {inputs.frames.shape}, not {expected}")
            arrays["given_frames"] = inputs.frames
        if inputs.image is not None:
            arrays["given_image"] = inputs.image
        return EngineState(0, arrays)

    def reseeded(self, state: EngineState, seed: int) -> EngineState:
        """The windows' generator begins anew; frames that are made already stay."""
        return EngineState(state.frames_done, {**state.arrays, "generator": state_of(seeded(seed))})

    @torch.inference_mode()
    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        """The chunk after `state`: up to 16 frames, fewer only at the video's end.

        Raises errors.Interrupted if `on_step` does, errors.PromptTooLong, errors.FieldNotSupported for an image that
        the first-chunk source does not take, errors.PresetError if another profile's networks cannot be loaded, and
        errors.NotFinite, naming stage and chunk, if a network returns NaN or infinity.
        """
        del inputs
        if state.frames_done >= spec.length:
            raise ValueError(f"all {spec.length} frames are done already")
        return self._chunk(spec, state, on_step)

    def _chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:
        if "given_frames" in state.arrays:
            return self._input_chunk(spec, state)
        make = self._later_chunk if state.frames_done else self._first_chunk
        return make(spec, state, on_step)

    def _input_chunk(self, spec: JobSpec, state: EngineState) -> EngineChunk:
        """The last frames of the input video, unchanged, as the first chunk."""
        frames: FramesTHWC = state.arrays["given_frames"]
        pictures = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).float() / 255.0
        return finished_chunk(frames, spec, with_history(state, pictures), DeviceTimer())

    def _first_chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:
        """16 frames from the first-chunk source, which has its own generator."""
        watch = DeviceTimer()
        sampling = sampling_of(spec)
        source = watch.run("prepare", lambda: self._source(sampling.profile))
        request = FirstChunkRequest(
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            num_inference_steps=sampling.first_chunk.num_inference_steps,
            guidance_scale=sampling.first_chunk.guidance_scale,
            generator=seeded_for(spec.seed, _FIRST_CHUNK_STAGE),
            image=state.arrays.get("given_image"),
        )
        pictures = watch.run("denoise", lambda: source(request, on_step))
        frames = to_uint8(pictures, FiniteCheck(chunk_name(state)), FIRST_CHUNK)
        return finished_chunk(frames, spec, with_history(state, pictures), watch)

    def _source(self, profile: Profile) -> FirstChunkSource:
        if self._own_source is not None:
            return self._own_source
        models, config = self._models(profile), self._config.profiles[profile].first_chunk
        return BaseFirstChunk(models.base, models.encode_texts, models.vae, config, self._latent_shape(models))

    def _later_chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:
        """Surplus frames of the chunk before, then as many windows as the chunk needs."""
        watch = DeviceTimer()
        surplus: FramesTHWC = state.arrays.get("surplus_frames", np.zeros((0, 0, 0, 3), np.uint8))
        wanted = min(CHUNK_FRAMES, spec.length - state.frames_done)
        windows = num_windows(wanted, len(surplus))
        frames = [surplus] if len(surplus) else []
        first_frame = state.frames_done + len(surplus)
        for window in range(windows):
            counted = count_over_windows(on_step, window, windows)
            prompts = _prompts_of_window(spec, first_frame + window * NEW_FRAMES_PER_WINDOW)
            new_frames, state = self._window(spec, prompts, state, counted, watch)
            frames.append(new_frames)
        return finished_chunk(np.concatenate(frames), spec, state, watch)

    def _window(
        self, spec: JobSpec, prompts: tuple[str, str], state: EngineState, on_step: OnStep, watch: DeviceTimer
    ) -> tuple[FramesTHWC, EngineState]:
        """8 new frames that go from one prompt to the other, and the state after them."""
        sampling = sampling_of(spec)
        models = watch.run("prepare", lambda: self._models(sampling.profile))
        config = self._config.profiles[sampling.profile].windows
        config = config.with_request(sampling.num_inference_steps, sampling.guidance_scale)
        context = watch.run("prepare", lambda: self._window_context(models, spec, prompts, state))
        generator = restored(state.arrays["generator"])
        history = as_conditioning(self._tensor(state.arrays["conditioning_frames"]))
        latents = watch.run(
            "denoise",
            lambda: sample_latents(
                window_denoiser(models.network, context, history, config),
                config,
                self._latent_shape(models),
                self._loader.device,
                generator,
                on_step,
            ),
        )
        check = FiniteCheck(chunk_name(state))
        check.add("window", latents)
        pictures = watch.run("decode", lambda: decode_new_frames(models.vae, latents, CONDITIONING_FRAMES))
        frames = to_uint8(pictures, check)
        arrays = {
            **state.arrays,
            "generator": state_of(generator),
            "conditioning_frames": as_float_array(pictures[-CONDITIONING_FRAMES:]),
        }
        return frames, EngineState(state.frames_done, arrays)

    def _models(self, profile: Profile) -> LoadedModels:
        config = self._config.profiles[profile]
        return self._loader.at(config.dtype, config.distilled)

    def _latent_shape(self, models: LoadedModels) -> tuple[int, ...]:
        """[1, C, F, H, W] of a window."""
        factor = downsampling(models.vae)
        channels = models.network.unet.conv_in.in_channels
        return (1, channels, CHUNK_FRAMES, self._config.height // factor, self._config.width // factor)

    def _text_states(self, models: LoadedModels, spec: JobSpec, prompts: tuple[str, ...]) -> Tensor:
        """States of [negative prompt, *prompts]; without guidance of the prompts alone."""
        negative = [spec.negative_prompt] * (num_halves(sampling_of(spec).guidance_scale) - 1)
        texts = [*negative, *prompts]
        return self._texts.get(tuple(texts), lambda: models.encode_texts(texts))

    def _window_context(
        self, models: LoadedModels, spec: JobSpec, prompts: tuple[str, str], state: EngineState
    ) -> VideoContext:
        """Text and anchor of a window that goes from one prompt to another, computed once per worker."""
        old, new = prompts
        states = self._text_states(models, spec, (old,) if old == new else prompts)
        anchor: NDArray[np.float32] = state.arrays["anchor_frame"]
        # Profiles may differ in the weights that read text and anchor.
        weights = (models.network.weight.dtype, self._config.profiles[sampling_of(spec).profile].distilled.windows)
        key = (*weights, spec.negative_prompt, prompts, states.shape[0], anchor.tobytes())

        def make() -> VideoContext:
            anchor_3PR = as_conditioning(self._tensor(anchor))
            if old == new:
                return window_context(models.network, states, models.encode_images, anchor_3PR)
            return easing_context(models.network, states, models.encode_images, anchor_3PR, _EASING_F)

        return self._contexts.get(key, make)

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        """A copy on the engine's device: state arrays are immutable."""
        return torch.from_numpy(array.copy()).to(self._loader.device)


def _prompts_of_window(spec: JobSpec, first_frame: int) -> tuple[str, str]:
    """Of the window whose first new frame is `first_frame`; before the first window was the first chunk."""
    before = 0 if first_frame == CHUNK_FRAMES else first_frame - NEW_FRAMES_PER_WINDOW
    return prompts_of_window(spec, first_frame, before)
