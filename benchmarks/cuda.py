"""`python -m benchmarks.cuda`: what a GPU needs for the published model's size, with random weights in bfloat16.

Steps and windows eager, compiled and replayed as CUDA graphs; peak memory, also against the length of the video; the
share of the GPU's peak that is used; the refiner's windows (cuda_refiner.py). On a machine without CUDA the same code
runs once at toy size, compiled by a backend that only traces, and every figure of a GPU is written as "not measured".
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from rich.console import Console
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.__main__ import RESULTS, table
from benchmarks.cuda_refiner import measure_refiner, rehearse_refiner
from benchmarks.figures import Figure, Report
from benchmarks.networks import FULL_SIZE, TINY, Inputs, Size, random_inputs, random_network, random_vae
from benchmarks.steps import default_step, flops
from core.model.sampling.noise import seeded
from core.model.sampling.samplers import SamplingPlan
from core.model.sampling.schedules import make_schedule
from core.model.streaming_t2v.chunk_loop import (
    Recipe,
    VideoContext,
    as_conditioning,
    decode_new_frames,
    sample_latents,
)
from core.model.streaming_t2v.compiled import Compiler, for_cuda
from core.model.streaming_t2v.denoisers import window_denoiser
from core.model.streaming_t2v.kernels import lay_out_for_gpu
from core.model.streaming_t2v.network import StreamingNetwork
from core.service.engine import ignore_step

NEW_FRAMES = 8
WINDOWS = 6
"""Windows in a row, for memory against the length of a video: 48 new frames."""
PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "4090": 165}
"""Dense bfloat16 with float32 accumulation, by the makers' data sheets, of the GPUs whose name contains the key."""


@dataclass(frozen=True)
class Bench:
    """Everything one mode is measured with."""

    network: StreamingNetwork
    vae: AutoencoderKL
    inputs: Inputs
    device: torch.device

    def finish(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    console = Console()
    on_gpu = torch.cuda.is_available()
    report = Report(datetime.now(UTC).isoformat(timespec="seconds"), machine.commit(), machine.describe() | gpu_facts())
    with torch.inference_mode():
        report.figures.extend(measure_gpu(args.steps, console.print) if on_gpu else rehearse(console.print))
        report.figures.extend(measure_refiner(console.print) if on_gpu else rehearse_refiner(console.print))
    path = args.out / f"{args.name}.json"
    report.write(path)
    console.print(table(report))
    console.print(f"written to {path}")
    return 0


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument("--name", default=result_name(), help="of the result file (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps timed per mode (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results (default: %(default)s)")
    return parser.parse_args(argv)


def result_name() -> str:
    """ "h200-bf16", or "cuda-not-measured" on a machine without CUDA."""
    if not torch.cuda.is_available():
        return "cuda-not-measured"
    model = torch.cuda.get_device_name().split()[1:2] or ["gpu"]
    return f"{model[0].lower()}-bf16"


def gpu_facts() -> dict[str, str | int | float]:
    """The GPU, for the report."""
    if not torch.cuda.is_available():
        return {"gpu": "none"}
    properties = torch.cuda.get_device_properties(0)
    return {"gpu": properties.name, "gpu_memory_gib": round(properties.total_memory / 2**30, 1)}


def modes(on_gpu: bool) -> dict[str, Compiler | None]:
    """How steps run, by name. None: as they are."""
    if not on_gpu:
        return {"eager": None, "compiled": lambda f: torch.compile(f, fullgraph=True, dynamic=False, backend="eager")}
    compiled: Compiler = lambda f: torch.compile(f, fullgraph=True, dynamic=False)  # noqa: E731 - as in a table
    return {"eager": None, "compiled": compiled, "CUDA graphs": for_cuda}


def make_bench(size: Size, dtype: torch.dtype, device: torch.device, compiler: Compiler | None) -> Bench:
    """Networks in `dtype`, the autoencoder in float32, as the engine has them."""
    with device:
        network, vae, inputs = random_network(size), random_vae(size), random_inputs(size, dtype)
    for part in network.parts.values():
        nn.Module.to(part, dtype=dtype)
        lay_out_for_gpu(part)
    if compiler is not None:
        network.compile(compiler)
    return Bench(network, vae, inputs, device)


def measure_gpu(num_steps: int, say: Callable[[str], None]) -> list[Figure]:
    """All figures of this GPU, full size, bfloat16."""
    operations = flops()
    figures = list(operations)
    for name, compiler in modes(on_gpu=True).items():
        say(f"{name}: loading, first step, {num_steps} steps")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        bench = make_bench(FULL_SIZE, torch.bfloat16, torch.device("cuda"), compiler)
        step_ms = statistics.median(time_steps(bench, num_steps))
        decode_ms = statistics.median(time_decoding(bench, 5))
        figures.extend(mode_figures(name, step_ms, decode_ms, operations[1].value))
        figures.extend(memory_figures(name, memory_by_window(bench)))
        del bench
    return figures


def rehearse(say: Callable[[str], None]) -> list[Figure]:
    """The same code at toy size on the CPU: the modes agree, and what a GPU would tell is not measured."""
    say("no CUDA here: toy size on the CPU, for correctness only")
    predictions: list[Tensor] = []
    figures = flops()
    for name, compiler in modes(on_gpu=False).items():
        bench = make_bench(TINY, torch.float32, torch.device("cpu"), compiler)
        predictions.append(default_step(bench.network, bench.inputs)())
        time_decoding(bench, 1)
        sample_windows(bench, 2, steps=2)
        figures.extend(mode_figures(name, None, None, None))
    figures.extend(mode_figures("CUDA graphs", None, None, None) + memory_figures("CUDA graphs", []))
    difference = float((predictions[1] - predictions[0]).abs().max())
    return [*figures, Figure("compiled and eager, largest difference (toy size, CPU)", difference, "", target=1e-4)]


def time_steps(bench: Bench, num_steps: int) -> list[float]:
    """Milliseconds of single guidance steps, warm."""
    step = default_step(bench.network, bench.inputs)
    for _ in range(3):  # compiles, then records a CUDA graph, then replays it
        step()
    return [timed_ms(bench, step) for _ in range(num_steps)]


def time_decoding(bench: Bench, times: int) -> list[float]:
    """Milliseconds to decode a window's new frames, warm."""
    latents = bench.inputs.latents_1CFHW.float()

    def decode() -> Tensor:
        return decode_new_frames(bench.vae, latents, NEW_FRAMES)

    decode()
    return [timed_ms(bench, decode) for _ in range(times)]


def timed_ms(bench: Bench, work: Callable[[], Any]) -> float:
    bench.finish()
    started = time.perf_counter()
    work()
    bench.finish()
    return 1e3 * (time.perf_counter() - started)


def memory_by_window(bench: Bench) -> list[float]:
    """Peak gigabytes after each of several windows in a row, the autoencoder included."""
    return sample_windows(bench, WINDOWS, steps=2)


def sample_windows(bench: Bench, num_windows: int, steps: int) -> list[float]:
    """Windows that continue each other, as a video's do; gigabytes at the peak so far after each."""
    inputs, network = bench.inputs, bench.network
    recipe = Recipe(SamplingPlan("ddim", steps), make_schedule(), guidance_scale=7.5)
    context = VideoContext(network.read(inputs.text_2LD, inputs.tokens_2KD), inputs.text_2LD)
    shape = tuple(inputs.latents_1CFHW.shape)
    past, generator, peaks = inputs.past_G3PR, seeded(0), list[float]()
    for _ in range(num_windows):
        denoise = window_denoiser(network, context, past, recipe)
        latents = sample_latents(denoise, recipe, shape, bench.device, generator, ignore_step)
        past = as_conditioning(decode_new_frames(bench.vae, latents, NEW_FRAMES))
        peaks.append(torch.cuda.max_memory_allocated() / 1e9 if bench.device.type == "cuda" else 0.0)
    return peaks


def mode_figures(name: str, step_ms: float | None, decode_ms: float | None, tflop: float | None) -> list[Figure]:
    """Figures of one mode; None where nothing was measured. Targets hold for the fastest mode."""
    judged = name == "CUDA graphs"
    window = {n: None if step_ms is None or decode_ms is None else n * step_ms + decode_ms for n in (50, 25)}
    pace = {n: None if ms is None else round(NEW_FRAMES / ms * 1e3, 2) for n, ms in window.items()}
    used = None if step_ms is None or tflop is None else round(100 * tflop / (step_ms / 1e3) / peak_tflops(), 1)
    return [
        Figure(f"{name}: guidance step", rounded(step_ms), "ms", target=36 if judged else None),
        Figure(f"{name}: decoding 8 new frames", rounded(decode_ms), "ms"),
        Figure(f"{name}: window of 50 steps", rounded(window[50]), "ms"),
        Figure(f"{name}: new frames, 50 steps", pace[50], "frames/s", 4 if judged else None, "higher"),
        Figure(f"{name}: new frames, 25 steps", pace[25], "frames/s", 8 if judged else None, "higher"),
        Figure(f"{name}: MFU", used, "%", note="share of the data sheet's dense bfloat16 rate"),
    ]


def memory_figures(name: str, peaks: list[float]) -> list[Figure]:
    """Peak memory, and whether it grows with the video."""
    samples = [round(peak, 2) for peak in peaks]
    growth = round(samples[-1] - samples[1], 2) if samples else None
    return [
        Figure(f"{name}: peak memory", max(samples) if samples else None, "GB", target=16, samples=samples),
        Figure(f"{name}: peak memory, growth from window 2 to {WINDOWS}", growth, "GB", target=0.05),
    ]


def peak_tflops() -> float:
    """The GPU's dense bfloat16 rate; not a number for a GPU that is not in the list."""
    name = torch.cuda.get_device_name()
    return next((float(rate) for key, rate in PEAK_TFLOPS.items() if key in name), float("nan"))


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


if __name__ == "__main__":
    sys.exit(main())
