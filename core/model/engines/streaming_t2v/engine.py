"""StreamingT2VEngine: a request becomes chunks, one call per chunk, from a small state that any worker can continue.

Implements core.service.domain.engine.Engine. Knows no files, queues or storage; its networks come loaded.

The state's arrays: `generator` (the windows' CPU generator), `conditioning_frames` (last 8 decoded frames, float32,
not rounded), `anchor_frame` (frame 0), `surplus_frames` (finished frames that no chunk has yet, uint8); before chunk 0
the input media, `given_image` (uint8, any size) or `given_frames` (16 of the preset's size, uint8).

Shapes: C latent channels, F frames, H, W latent rows and columns, P, R picture rows and columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from core.model.engines.streaming_t2v.base_first_chunk import BaseFirstChunk
from core.model.engines.streaming_t2v.first_chunk.source import FIRST_CHUNK, FirstChunkRequest, FirstChunkSource
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.recent import Recent
from core.model.engines.streaming_t2v.sampling import (
    SamplingConfig,
    VideoContext,
    as_conditioning,
    decode_new_frames,
    sample_latents,
    window_context,
    window_denoiser,
)
from core.model.networks.base_network import BaseNetwork
from core.model.networks.encoders import ImageEncoder, TextEncoder
from core.model.sampling.device import Stopwatch, device_name
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.guidance import num_halves
from core.model.sampling.noise import restored, seeded, seeded_for, state_of
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
from core.service.domain.frame_plan import CHUNK_FRAMES, CONDITIONING_FRAMES, num_windows
from core.service.domain.schema import DEFAULT_PROFILE, FirstChunkSampling, JobSpec, Profile

_FIRST_CHUNK_STAGE = "first_chunk"
_CACHED_VIDEOS = 8


@dataclass(frozen=True)
class LoadedModels:
    """Everything with weights, in evaluation mode, on one device."""

    network: StreamingNetwork
    base: BaseNetwork
    """Samples the first chunk: an untouched base UNet, or `network` where its base was kept frozen."""
    vae: AutoencoderKL
    encode_texts: TextEncoder
    encode_images: ImageEncoder


class ModelLoader(Protocol):
    """Holds a preset's models, the networks once for each dtype that is asked for."""

    @property
    def device(self) -> torch.device:
        """Where they are."""
        ...

    def at(self, dtype: torch.dtype) -> LoadedModels:
        """The models with networks of `dtype`, loaded at the first call. Raises errors.PresetError."""
        ...


@dataclass(frozen=True)
class ProfileConfig:
    """How a profile samples. A request's steps and guidance scales replace those of the configs."""

    windows: SamplingConfig
    first_chunk: SamplingConfig
    dtype: torch.dtype
    """Of the networks."""


@dataclass(frozen=True)
class EngineConfig:
    """What a preset sets."""

    height: int
    width: int
    profiles: Mapping[Profile, ProfileConfig]
    fingerprint: str


class StreamingT2VEngine(Engine):
    """The published method as an engine: base UNet for chunk 0, then two windows per chunk."""

    def __init__(self, loader: ModelLoader, config: EngineConfig, first_chunk: FirstChunkSource | None = None) -> None:
        """`first_chunk` None: the preset's own base UNet."""
        self._loader = loader
        self._config = config
        self._own_source = first_chunk
        self._texts: Recent[tuple[str, ...], Tensor] = Recent(_CACHED_VIDEOS)
        self._contexts: Recent[tuple[Any, ...], VideoContext] = Recent(_CACHED_VIDEOS)

    @property
    def fingerprint(self) -> str:
        """What the bytes depend on beside the request: weights, device model, library versions, threads."""
        return self._config.fingerprint

    @property
    def device(self) -> str:
        """Device of the networks, for people: "cpu", or the GPU's name."""
        return device_name(self._loader.device)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run one step of each kind, so that the first request does not pay for first uses.

        A first-chunk source of another model is left out: its steps are not the engine's.
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
        """The state before chunk 0: the input media, and the windows' generator at its start, as published."""
        arrays: dict[str, NDArray[Any]] = {"generator": state_of(seeded(spec.seed))}
        if inputs.frames is not None:
            expected = (CHUNK_FRAMES, self._config.height, self._config.width, 3)
            if inputs.frames.shape != expected:
                raise ValueError(f"input frames are {inputs.frames.shape}, not {expected}")
            arrays["given_frames"] = inputs.frames
        if inputs.image is not None:
            arrays["given_image"] = inputs.image
        return EngineState(0, arrays)

    @torch.inference_mode()
    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        """The chunk after `state`: up to 16 frames, fewer only at the video's end.

        Raises errors.Interrupted when `on_step` does, errors.PromptTooLong, errors.FieldNotSupported for an image that
        the first-chunk source cannot begin with, errors.PresetError where another profile's networks do not load, and
        errors.NotFinite, naming stage and chunk, where a network gives other numbers: frames and state hold none.
        """
        del inputs
        if state.frames_done >= spec.num_frames:
            raise ValueError(f"all {spec.num_frames} frames are done already")
        return self._chunk(spec, state, on_step)

    def _chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:
        if "given_frames" in state.arrays:
            return self._given_chunk(spec, state)
        make = self._later_chunk if state.frames_done else self._first_chunk
        return make(spec, state, on_step)

    def _given_chunk(self, spec: JobSpec, state: EngineState) -> EngineChunk:
        """The input video's last frames, as they are; the windows continue them."""
        frames: FramesTHWC = state.arrays["given_frames"]
        pictures = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).float() / 255.0
        return _deliver(frames, spec, _with_memory(state, pictures), Stopwatch())

    def _first_chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:
        """16 frames of the first-chunk source; its randomness is a stream of its own."""
        watch = Stopwatch()
        asked = _sampling(spec)
        source = watch.run("prepare", lambda: self._source(asked.profile))
        request = FirstChunkRequest(
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            num_inference_steps=asked.first_chunk.num_inference_steps,
            guidance_scale=asked.first_chunk.guidance_scale,
            generator=seeded_for(spec.seed, _FIRST_CHUNK_STAGE),
            image=state.arrays.get("given_image"),
        )
        pictures = watch.run("denoise", lambda: source(request, on_step))
        frames = to_uint8(pictures, FiniteCheck(_chunk_after(state)), FIRST_CHUNK)
        return _deliver(frames, spec, _with_memory(state, pictures), watch)

    def _source(self, profile: Profile) -> FirstChunkSource:
        if self._own_source is not None:
            return self._own_source
        models, config = self._models(profile), self._config.profiles[profile].first_chunk
        return BaseFirstChunk(models.base, models.encode_texts, models.vae, config, self._latent_shape(models))

    def _later_chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:
        """Surplus frames of the chunk before, then as many windows as the chunk needs."""
        watch = Stopwatch()
        surplus: FramesTHWC = state.arrays.get("surplus_frames", np.zeros((0, 0, 0, 3), np.uint8))
        wanted = min(CHUNK_FRAMES, spec.num_frames - state.frames_done)
        windows = num_windows(wanted, len(surplus))
        frames = [surplus] if len(surplus) else []
        for window in range(windows):
            counted = _count_over_windows(on_step, window, windows)
            new_frames, state = self._window(spec, state, counted, watch)
            frames.append(new_frames)
        return _deliver(np.concatenate(frames), spec, state, watch)

    def _window(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, watch: Stopwatch
    ) -> tuple[FramesTHWC, EngineState]:
        """8 new frames, and the state after them."""
        asked = _sampling(spec)
        models = watch.run("prepare", lambda: self._models(asked.profile))
        config = self._config.profiles[asked.profile].windows
        config = config.with_request(asked.num_inference_steps, asked.guidance_scale)
        context = watch.run("prepare", lambda: self._window_context(models, spec, state))
        generator = restored(state.arrays["generator"])
        past = as_conditioning(self._tensor(state.arrays["conditioning_frames"]))
        latents = watch.run(
            "denoise",
            lambda: sample_latents(
                window_denoiser(models.network, context, past, config),
                config,
                self._latent_shape(models),
                self._loader.device,
                generator,
                on_step,
            ),
        )
        check = FiniteCheck(_chunk_after(state))
        check.add("window", latents)
        pictures = watch.run("decode", lambda: decode_new_frames(models.vae, latents, CONDITIONING_FRAMES))
        frames = to_uint8(pictures, check)
        arrays = {
            **state.arrays,
            "generator": state_of(generator),
            "conditioning_frames": _numpy(pictures[-CONDITIONING_FRAMES:]),
        }
        return frames, EngineState(state.frames_done, arrays)

    def _models(self, profile: Profile) -> LoadedModels:
        return self._loader.at(self._config.profiles[profile].dtype)

    def _latent_shape(self, models: LoadedModels) -> tuple[int, ...]:
        """[1, C, F, H, W] of a window."""
        factor = downsampling(models.vae)
        channels = models.network.unet.conv_in.in_channels
        return (1, channels, CHUNK_FRAMES, self._config.height // factor, self._config.width // factor)

    def _text_states(self, models: LoadedModels, spec: JobSpec) -> Tensor:
        """States of [negative prompt, prompt], or of the prompt alone where nothing is guided."""
        texts = (spec.negative_prompt, spec.prompt)[-num_halves(_sampling(spec).guidance_scale) :]
        return self._texts.get(texts, lambda: models.encode_texts(list(texts)))

    def _window_context(self, models: LoadedModels, spec: JobSpec, state: EngineState) -> VideoContext:
        """Text and anchor of this video: computed once per worker, whichever chunk it starts with."""
        states = self._text_states(models, spec)
        anchor: NDArray[np.float32] = state.arrays["anchor_frame"]
        dtype = models.network.weight.dtype
        key = (dtype, spec.negative_prompt, spec.prompt, states.shape[0], anchor.tobytes())

        def make() -> VideoContext:
            anchor_3PR = as_conditioning(self._tensor(anchor))
            return window_context(models.network, states, models.encode_images, anchor_3PR)

        return self._contexts.get(key, make)

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        """A copy on the engine's device: state arrays are never changed in place."""
        return torch.from_numpy(array.copy()).to(self._loader.device)


@dataclass(frozen=True)
class _Sampling:
    """The sampling fields of a spec, which admission has filled in for this engine."""

    profile: Profile
    guidance_scale: float
    num_inference_steps: int
    first_chunk: FirstChunkSampling


def _sampling(spec: JobSpec) -> _Sampling:
    profile, first_chunk = spec.profile, spec.first_chunk
    guidance_scale, num_steps = spec.guidance_scale, spec.num_inference_steps
    if profile is None or first_chunk is None or guidance_scale is None or num_steps is None:
        raise ValueError("the spec lacks sampling fields: it was made for another engine")
    return _Sampling(profile, guidance_scale, num_steps, first_chunk)


def _chunk_after(state: EngineState) -> str:
    """The chunk that is made from a state, for errors."""
    return f"chunk {state.frames_done // CHUNK_FRAMES}"


def _count_over_windows(on_step: OnStep, window: int, num_windows: int) -> OnStep:
    """Steps counted over all windows of a chunk."""

    def count(step: int, steps: int) -> None:
        on_step(window * steps + step, num_windows * steps)

    return count


def _with_memory(state: EngineState, pictures_F3PR: Tensor) -> EngineState:
    """The state after the first chunk: what the windows remember of it instead of what was given."""
    arrays = {name: array for name, array in state.arrays.items() if not name.startswith("given_")}
    memory = {
        "anchor_frame": _numpy(pictures_F3PR[0]),
        "conditioning_frames": _numpy(pictures_F3PR[-CONDITIONING_FRAMES:]),
    }
    return EngineState(state.frames_done, {**arrays, **memory})


def _deliver(frames: FramesTHWC, spec: JobSpec, state: EngineState, watch: Stopwatch) -> EngineChunk:
    """Split finished frames into this chunk's and the surplus that the next chunk begins with."""
    wanted = min(CHUNK_FRAMES, spec.num_frames - state.frames_done)
    arrays: Mapping[str, NDArray[Any]] = {k: v for k, v in state.arrays.items() if k != "surplus_frames"}
    if len(frames) > wanted:
        arrays = {**arrays, "surplus_frames": frames[wanted:]}
    return EngineChunk(frames[:wanted], EngineState(state.frames_done + wanted, arrays), dict(watch.seconds))


def _numpy(pictures: Tensor) -> NDArray[np.float32]:
    """Float pictures for the state."""
    array: NDArray[np.float32] = pictures.float().cpu().contiguous().numpy()
    return array
