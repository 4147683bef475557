"""The engine on a GPU: new frames per second, repeatability, memory. Part of benchmarks.cuda.

Every figure is of the engine's own `next_chunk`: sampler, random draws, callbacks, decoding and copying
the frames to the CPU are included; the service's video encoding and storage are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cuda_refiner import rounded
from benchmarks.cuda_rig import Rig
from benchmarks.figures import Figure
from benchmarks.steps import flops
from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES

WINDOWS_PER_CHUNK = 2
CHUNKS = 4
"""Chunks in a row, for memory against the length of a video: 64 new frames."""
PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "4090": 165}
"""Dense bfloat16 with float32 accumulation, from data sheets, by a part of the GPU's name."""


def pace(rig: Rig) -> Iterator[Figure]:
    """Uncompiled: kernels are launched one by one."""
    yield from pace_of(rig, "eager")


def pace_of(rig: Rig, name: str) -> Iterator[Figure]:
    """New frames per second at 50 and 25 steps, and the time of their parts. Only the fastest mode has targets."""
    judged, state = name == "CUDA graphs", rig.after_input_frames()
    rig.chunk(2, state)  # compiles, then records a CUDA graph, then replays it
    made = {}
    for steps, target in ((50, 4), (25, 8)):
        seconds, made[steps] = rig.timed(lambda steps=steps: rig.chunk(steps, state))
        frames = round(CHUNK_FRAMES / seconds, 2)
        yield Figure(f"{name}: new frames, {steps} steps", frames, "frames/s", target if judged else None, "higher")
    yield from parts_of(rig, name, made[50], judged=judged)


def parts_of(rig: Rig, name: str, made: EngineChunk, *, judged: bool) -> Iterator[Figure]:
    """Of a chunk of two windows of 50 steps: a step, decoding, and the steps' share of the GPU's peak rate."""
    step_ms = 1e3 * made.timings["denoise"] / (WINDOWS_PER_CHUNK * rig.scale.steps[50])
    decode_ms = 1e3 * made.timings["decode"] / WINDOWS_PER_CHUNK
    yield Figure(f"{name}: guidance step in the loop", round(step_ms, 1), "ms", target=36 if judged else None)
    yield Figure(f"{name}: decoding 8 new frames", round(decode_ms, 1), "ms")
    note = "share of the data sheet's dense bfloat16 rate"
    yield Figure(f"{name}: MFU", used_percent(rig, step_ms), "%", note=note)


def used_percent(rig: Rig, step_ms: float) -> float | None:
    """Percent of the peak rate; None at toy size, on a CPU, or on a GPU that is not in the list."""
    if not rig.on_gpu or rig.scale.name != "full":
        return None
    name = torch.cuda.get_device_name(rig.device)
    peak = next((rate for key, rate in PEAK_TFLOPS.items() if key in name), None)
    return None if peak is None else round(100 * step_tflop() / (step_ms / 1e3) / peak, 1)


@cache
def step_tflop() -> float:
    """Of a guidance step at full size."""
    _, default = flops()
    assert default.value is not None
    return default.value


def repeat(rig: Rig) -> Iterator[Figure]:
    """The same chunk twice, from the same state."""
    yield repeated(rig, "eager")


def repeated(rig: Rig, name: str) -> Figure:
    """Number of bytes of frames and state that differ between two runs; must be 0, as chunks can be made again."""
    state = rig.after_input_frames()
    first, second = (bytes_of(rig.chunk(10, state)) for _ in range(2))
    differing = int((first != second).sum()) if len(first) == len(second) else max(len(first), len(second))
    note = f"of {len(first)}; two windows, frames and state"
    return Figure(f"{name}: bytes that differ when a chunk is made twice", differing, "bytes", target=0, note=note)


def bytes_of(made: EngineChunk) -> NDArray[np.uint8]:
    """Frames and state."""
    return np.frombuffer(made.frames.tobytes() + made.state.to_bytes(), np.uint8)


def memory(rig: Rig) -> Iterator[Figure]:
    """With every network loaded: at rest, peaks of a first chunk and of several chunks, growth."""
    rig.after_input_frames()
    yield Figure("memory: every network loaded", rounded(rig.held_gigabytes()), "GB")
    rig.reset_peak()
    first = rig.engine.next_chunk(rig.spec(2), rig.engine.start(rig.spec(2), NO_INPUT_MEDIA), ignore_step)
    yield Figure("memory: peak of a first chunk", rounded(rig.peak_gigabytes()), "GB", target=16)
    peaks = list(peaks_of_chunks(rig, first.state))
    known = [peak for peak in peaks if peak is not None]
    samples = [round(peak, 2) for peak in known]
    yield Figure("memory: peak of chunks", max(samples, default=None), "GB", target=16, samples=samples)
    growth = round(known[-1] - known[1], 2) if known else None
    yield Figure(f"memory: growth of the peak from chunk 2 to {CHUNKS}", growth, "GB", target=0.05)


def peaks_of_chunks(rig: Rig, state: EngineState) -> Iterator[float | None]:
    """Gigabytes at the peak of each of several chunks that continue one another, as in a video."""
    for _ in range(CHUNKS):
        rig.reset_peak()
        state = rig.chunk(2, state).state
        yield rig.peak_gigabytes()


def graphs(rig: Rig) -> Iterator[Figure]:
    """Compiled and replayed as CUDA graphs, as a worker does with LONGTAKE_TORCH_COMPILE."""
    state = rig.after_input_frames()
    eager = rig.chunk(2, state).frames
    rig.reset_peak()
    rig.models.network.compile(rig.for_steps)
    difference = float(np.abs(rig.chunk(2, state).frames.astype(int) - eager.astype(int)).mean())
    yield Figure("CUDA graphs: mean difference from eager", round(difference, 3), "levels", target=1)
    yield from pace_of(rig, "CUDA graphs")
    yield repeated(rig, "CUDA graphs")
    yield Figure("CUDA graphs: memory taken from the device", rounded(rig.reserved_gigabytes()), "GB")
