"""The refiner on a GPU: windows of 24 frames at 720x720 with random weights of MS-Vid2Vid-XL's size, bfloat16.

A window is one call of the engine, encoding and decoding included; every window but the first gives 16 new frames.
Part of benchmarks.cuda.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.figures import Figure
from benchmarks.networks import FULL_SIZE, SEED, TINY, Size, random_refiner_unet, random_vae
from benchmarks.refinement import job
from core.model.refinement.engine import RefinerLaws, RefinerModels, WindowRefiner
from core.model.refinement.schedule import vid2vid_sigmas
from core.model.streaming_t2v.base_network import UntouchedBase
from core.model.streaming_t2v.compiled import Compiler, in_one_graph
from core.model.streaming_t2v.kernels import lay_out_for_gpu
from core.service.engine import FramesTHWC, ignore_step
from core.service.frame_plan import refinement_windows
from core.service.refine_engine import RefineState
from core.service.schema import JobSpec

MODES: dict[str, Compiler | None] = {"eager": None, "compiled": in_one_graph}
_NUM_FRAMES = 40
"""Two windows, the second of which goes on from the first."""


@dataclass(frozen=True)
class Scale:
    """Pixels of preview and result, and steps."""

    size: Size
    preview: int
    refined: int
    steps: int


FULL = Scale(FULL_SIZE, 256, 720, 30)
TOY = Scale(replace(TINY, widths=(16, 32, 32), norm_groups=8, vae_widths=(8, 8, 8, 8)), 32, 72, 2)


@dataclass(frozen=True)
class Timed:
    """What a second window took."""

    seconds: float
    gigabytes: float
    frames: FramesTHWC


def measure_refiner(say: Callable[[str], None]) -> list[Figure]:
    """All figures of this GPU."""
    figures: list[Figure] = []
    for name, compiler in MODES.items():
        say(f"refiner, {name}: loading, two windows")
        torch.cuda.empty_cache()
        timed = time_window(make_refiner(FULL, torch.bfloat16, torch.device("cuda"), compiler), FULL)
        figures += refiner_figures(name, timed)
    return figures


def rehearse_refiner(say: Callable[[str], None]) -> list[Figure]:
    """The same code at toy size on the CPU, compiled by a backend that only traces: both modes give the same frames."""
    say("refiner: toy size on the CPU, for correctness only")
    tracing: Compiler = lambda f: torch.compile(f, fullgraph=True, dynamic=False, backend="eager")  # noqa: E731 - as in a table
    cpu = torch.device("cpu")
    eager, traced = (
        time_window(make_refiner(TOY, torch.float32, cpu, compiler), TOY).frames for compiler in (None, tracing)
    )
    difference = float(np.abs(eager.astype(int) - traced.astype(int)).max())
    same = Figure("refiner, compiled and eager, largest difference (toy size, CPU)", difference, "levels", target=1)
    return [*(figure for name in MODES for figure in refiner_figures(name, None)), same]


def make_refiner(scale: Scale, dtype: torch.dtype, device: torch.device, compiler: Compiler | None) -> WindowRefiner:
    """The UNet in `dtype`, the autoencoder in float32, as presets load them."""
    with device:
        unet, vae = random_refiner_unet(scale.size), random_vae(scale.size)
    nn.Module.to(unet, dtype=dtype)
    lay_out_for_gpu(unet)
    network = UntouchedBase(unet)
    if compiler is not None:
        network.compile(compiler)

    def read_texts(texts: list[str]) -> Tensor:
        shape = (len(texts), scale.size.text_tokens, scale.size.text_width)
        return torch.randn(shape, generator=torch.Generator().manual_seed(SEED)).to(device)

    laws = RefinerLaws(vid2vid_sigmas(), "v_prediction", 0.2, vid2vid_resampling=True, windows_per_batch=1)
    return WindowRefiner(RefinerModels(network, vae, read_texts), laws, "random")


def time_window(refiner: WindowRefiner, scale: Scale) -> Timed:
    """The second window; the first warms up (and compiles), and is what the second goes on from."""
    on_gpu, spec = torch.cuda.is_available(), request(scale)
    preview = np.random.default_rng(SEED).integers(0, 256, (_NUM_FRAMES, scale.preview, scale.preview, 3), np.uint8)
    first, second = refinement_windows(_NUM_FRAMES)
    state = refiner.refine_window(spec, RefineState(), preview[: first.end_frame], ignore_step).state
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    refined = refiner.refine_window(spec, state, preview[second.first_frame :], ignore_step)
    seconds = time.perf_counter() - started  # frames are on the CPU by then
    return Timed(seconds, torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0, refined.frames)


def request(scale: Scale) -> JobSpec:
    """Two windows at the scale's size."""
    spec = job("streaming", _NUM_FRAMES)
    assert spec.refine is not None
    size = {"height": scale.refined, "width": scale.refined}
    refine = spec.refine.model_copy(update={**size, "num_inference_steps": scale.steps, "guidance_scale": 7.5})
    return spec.model_copy(update={"refine": refine})


def refiner_figures(name: str, timed: Timed | None) -> list[Figure]:
    """Figures of one mode; None: not measured. Targets are for one H200, the fastest mode."""
    note = f"{FULL.refined}x{FULL.refined}, {FULL.steps} steps, guidance, encoding and decoding included; stretch 12 s"
    seconds = None if timed is None else round(timed.seconds, 2)
    gigabytes = None if timed is None else round(timed.gigabytes, 2)
    judged = name == "compiled"
    return [
        Figure(
            f"refiner, {name}: window of 24 frames, 16 of them new", seconds, "s", 20 if judged else None, note=note
        ),
        Figure(f"refiner, {name}: peak memory", gigabytes, "GB", target=24),
    ]
