"""What the GPU benchmarks run on: every network of the service with random weights, behind the service's own engine.

Networks are made on the device, in the dtypes of presets. Measures time and memory there; has no targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from benchmarks.networks import (
    FULL_SIZE,
    SEED,
    TINY,
    Size,
    random_base_unet,
    random_network,
    random_picture_encoder,
    random_text_encoder,
    random_vae,
)
from core.model.engines.streaming_t2v.engine import StreamingT2VEngine
from core.model.engines.streaming_t2v.models import UNDISTILLED, Distilled, EngineConfig, LoadedModels, ProfileConfig
from core.model.engines.streaming_t2v.sampling import SamplingConfig
from core.model.networks.base_network import UntouchedBase
from core.model.networks.compilation import Compiler, compile_one_graph, compile_with_cuda_graph
from core.model.networks.encoders import ClipImageEncoder, ClipTextEncoder
from core.model.networks.kernels import lay_out_for_gpu
from core.model.sampling.samplers import SamplingPlan
from core.model.sampling.schedules import make_schedule
from core.service.domain.engine import EngineChunk, EngineState, InputMedia, OnStep, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import DEFAULT_PROFILE, FirstChunkSampling, JobSpec, Profile
from tests.helpers.random_preset import word_tokenizer

Value = TypeVar("Value")
GUIDANCE = 7.5


@dataclass(frozen=True)
class Scale:
    """All sizes. `steps`: steps of a window by the number requested; at full size the same number."""

    name: str
    size: Size
    smoke: Size
    """Of the two-level networks that are compared with the CPU's."""
    steps: dict[int, int]
    refiner_size: Size
    preview_pixels: int
    refined_pixels: int


FULL = Scale(
    "full",
    FULL_SIZE,
    replace(
        FULL_SIZE, widths=(320, 640), layers_per_block=1, latent_size=16, vae_widths=(128, 256), encoder_layers=(2, 2)
    ),
    {50: 50, 25: 25, 10: 10, 2: 2, 30: 30},
    FULL_SIZE,
    256,
    720,
)
_SMALL = replace(TINY, latent_size=4)
TOY = Scale(
    "tiny",
    _SMALL,
    replace(_SMALL, vae_widths=(8, 8)),
    {50: 2, 25: 1, 10: 1, 2: 1, 30: 2},
    replace(TINY, widths=(16, 32, 32), norm_groups=8),
    32,
    72,
)
SCALES = {scale.name: scale for scale in (FULL, TOY)}


class Rig:
    """One device and one scale."""

    def __init__(self, device: torch.device, scale: Scale) -> None:
        self.device = device
        self.scale = scale
        self.on_gpu = device.type == "cuda"
        self.dtype = torch.bfloat16 if self.on_gpu else torch.float32
        """Of the networks that denoise, as in presets on a GPU and on a CPU."""

    @property
    def for_steps(self) -> Compiler:
        """How windows' steps are compiled; on a CPU with a backend that only traces."""
        return compile_with_cuda_graph if self.on_gpu else _traced

    @property
    def for_windows(self) -> Compiler:
        """How the refiner's steps are compiled."""
        return compile_one_graph if self.on_gpu else _traced

    @cached_property
    def models(self) -> LoadedModels:
        """Every network of the engine, an untouched base UNet for first chunks included."""
        size = self.scale.size
        with self.device:
            network, base = random_network(size), random_base_unet(size)
            vae, text, pictures = random_vae(size), random_text_encoder(size), random_picture_encoder(size)
        for part in (*network.parts.values(), base):
            self.place(part, self.dtype)
        reads = ClipTextEncoder(word_tokenizer(), text), ClipImageEncoder(pictures)
        return LoadedModels(network, UntouchedBase(base), vae, *reads)

    @cached_property
    def engine(self) -> StreamingT2VEngine:
        """The service's engine."""
        config = SamplingConfig(SamplingPlan("ddim", 50), make_schedule(), GUIDANCE)
        pixels = 8 * self.scale.size.latent_size
        profiles: dict[Profile, ProfileConfig] = {DEFAULT_PROFILE: ProfileConfig(config, config, self.dtype)}
        return StreamingT2VEngine(
            _LoadedModelsOnly(self.device, self.models), EngineConfig(pixels, pixels, profiles, "random")
        )

    def free(self) -> None:
        """Free engine and models."""
        self.__dict__.pop("engine", None)
        self.__dict__.pop("models", None)
        if self.on_gpu:
            torch.cuda.empty_cache()

    def place(self, part: nn.Module, dtype: torch.dtype) -> None:
        """On the device, in `dtype`, laid out as presets do."""
        nn.Module.to(part, self.device, dtype)
        if self.on_gpu:
            lay_out_for_gpu(part)

    def spec(self, steps: int, num_frames: int = 1000) -> JobSpec:
        """A job with this number of steps in every stage (fewer at toy size)."""
        sampled = self.scale.steps[steps]
        return JobSpec(
            prompt="a red circle moving left",
            negative_prompt="",
            num_frames=num_frames,
            fps=8,
            seed=SEED,
            model="random",
            guidance_scale=GUIDANCE,
            num_inference_steps=sampled,
            profile=DEFAULT_PROFILE,
            first_chunk=FirstChunkSampling(num_inference_steps=sampled, guidance_scale=GUIDANCE),
        )

    def after_input_frames(self) -> EngineState:
        """A state after 16 input frames: the next chunk is two windows, and no first chunk is sampled."""
        pixels = 8 * self.scale.size.latent_size
        frames = np.random.default_rng(SEED).integers(0, 256, (CHUNK_FRAMES, pixels, pixels, 3), np.uint8)
        spec = self.spec(2)
        start = self.engine.start(spec, InputMedia(frames=frames))
        return self.engine.next_chunk(spec, start, ignore_step).state

    def chunk(self, steps: int, state: EngineState, on_step: OnStep = ignore_step) -> EngineChunk:
        """The chunk after `state`, with this number of steps per window."""
        return self.engine.next_chunk(self.spec(steps), state, on_step)

    def timed(self, work: Callable[[], Value]) -> tuple[float, Value]:
        """Seconds on the device, and the result."""
        self.finish()
        started = time.perf_counter()
        result = work()
        self.finish()
        return time.perf_counter() - started, result

    def finish(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def reset_peak(self) -> None:
        """Reset the peak of memory."""
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gigabytes(self) -> float | None:
        """Most memory that tensors held since `reset_peak`; None on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) / 1e9 if self.on_gpu else None

    def reserved_gigabytes(self) -> float | None:
        """Most memory reserved on the device, CUDA graphs included; None on a CPU."""
        return torch.cuda.max_memory_reserved(self.device) / 1e9 if self.on_gpu else None

    def held_gigabytes(self) -> float | None:
        """Memory of tensors now; None on a CPU."""
        return torch.cuda.memory_allocated(self.device) / 1e9 if self.on_gpu else None


@dataclass(frozen=True)
class _LoadedModelsOnly:
    """A ModelLoader with one set of models."""

    device: torch.device
    models: LoadedModels

    def at(self, dtype: torch.dtype, distilled: Distilled = UNDISTILLED) -> LoadedModels:
        """The models; the benchmark asks for one dtype only."""
        del dtype, distilled
        return self.models


def _traced(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True, dynamic=False, backend="eager")
