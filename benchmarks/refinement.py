"""Refinement at several video lengths: CPU seconds per frame and memory, both schedules, random tiny networks.

Every measurement runs in its own process (`python -m benchmarks.refinement PRESET SCHEDULE FRAMES` prints it as JSON).
Memory is the peak above that with everything loaded, measured twice: with the default allocator, with fragments, and in
a second process whose allocator returns freed memory at once, which shows what refining needs and is too slow to be
timed. Frames come as from storage: those of a window for streaming, all at once for lockstep; refined ones are dropped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np
import psutil

from benchmarks.figures import Figure
from core.model.refinement.loading import load_refiner
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import chunk_span, num_chunks, refinement_windows
from core.service.domain.refiner import RefineEngine, RefineState
from core.service.domain.schema import DEFAULT_PROFILE, FirstChunkSampling, JobSpec, RefineSchedule, RefineSpec
from tests.helpers.random_preset import write_random_preset

LENGTHS = (48, 240, 1200)
NUM_STEPS = 2
SIZE = 64
RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
"""glibc's settings; other allocators read none of them."""
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured:
    """One video. `megabytes` None: this system does not report a process' peak."""

    seconds_per_frame: float
    megabytes: float | None


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Both schedules at every length."""
    schedules: tuple[RefineSchedule, ...] = get_args(RefineSchedule)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        write_random_preset(Path(folder), size=SIZE)
        for schedule in schedules:
            as_it_is, needed = (
                [measure_in_process(Path(folder), schedule, length, allocator, say) for length in LENGTHS]
                for allocator in ({}, RETURN_FREED_MEMORY)
            )
            for length, measured, lean in zip(LENGTHS, as_it_is, needed, strict=True):
                figures += figures_of(schedule, length, measured, lean)
            figures += [growth(schedule, "memory", as_it_is), growth(schedule, "memory needed", needed)]
    return figures


def measure_in_process(
    preset: Path, schedule: RefineSchedule, num_frames: int, allocator: dict[str, str], say: Callable[[str], None]
) -> Measured:
    """One video in its own process, on one thread, so that CPU seconds do not depend on the number of cores."""
    say(f"refinement: {schedule}, {num_frames} frames")
    command = [sys.executable, "-m", "benchmarks.refinement", str(preset), schedule, str(num_frames)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | allocator
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Measured(**json.loads(answer.stdout))


def figures_of(schedule: RefineSchedule, num_frames: int, measured: Measured, lean: Measured) -> list[Figure]:
    name = f"refinement, {schedule}, {num_frames} frames"
    note = f"random tiny networks, {SIZE} to {2 * SIZE} pixels, {NUM_STEPS} steps, one thread"
    return [
        Figure(f"{name}: per frame", measured.seconds_per_frame, "processor s", note=note),
        Figure(f"{name}: memory above the loaded process", measured.megabytes, "MB", note=note),
        Figure(f"{name}: memory needed", lean.megabytes, "MB", note="freed memory handed back at once"),
    ]


def growth(schedule: RefineSchedule, what: str, by_length: list[Measured]) -> Figure:
    """Memory of the longest video over that of the shortest; only streaming has a target."""
    first, last = by_length[0].megabytes, by_length[-1].megabytes
    ratio = None if first is None or last is None else round(last / first, 3)
    name = f"refinement, {schedule}: {what} at {LENGTHS[-1]} frames over that at {LENGTHS[0]}"
    return Figure(name, ratio, "x", target=1.1 if schedule == "streaming" else None)


def measure_here(preset: Path, schedule: RefineSchedule, num_frames: int) -> Measured:
    """Refine a video of `num_frames` in this process."""
    engine = load_refiner(preset, device="cpu", torch_threads=1)
    loaded = psutil.Process().memory_info().rss
    refine = stream if schedule == "streaming" else advance_together
    # Warm-up: costs of the first window do not depend on the length.
    refine(engine, job(schedule, 24))
    knows_peak = reset_peak()
    started = time.process_time()
    refine(engine, job(schedule, num_frames))
    seconds = (time.process_time() - started) / num_frames
    return Measured(round(seconds, 4), round((peak() - loaded) / 1e6, 1) if knows_peak else None)


def stream(engine: RefineEngine, spec: JobSpec) -> None:
    """Window after window."""
    state = RefineState()
    for window in refinement_windows(spec.length):
        state = engine.refine_window(spec, state, preview(window.num_frames), ignore_step).state


def advance_together(engine: RefineEngine, spec: JobSpec) -> None:
    """Step after step, then chunk after chunk."""
    state = engine.start_lockstep(spec, preview(spec.length))
    for _ in range(NUM_STEPS):
        state = engine.step_lockstep(spec, state, ignore_step)
    for index in range(num_chunks(spec.length)):
        span = chunk_span(index, spec.length)
        engine.finish_lockstep(spec, state, range(span.first_frame, span.first_frame + span.num_frames))


def preview(num_frames: int) -> FramesTHWC:
    return np.random.default_rng(0).integers(0, 256, (num_frames, SIZE, SIZE, 3), np.uint8)


def job(schedule: RefineSchedule, num_frames: int) -> JobSpec:
    asked = RefineSpec(
        strength=0.6,
        num_inference_steps=NUM_STEPS,
        guidance_scale=2.0,
        height=2 * SIZE,
        width=2 * SIZE,
        schedule=schedule,
    )
    return JobSpec(
        prompt="a red circle moving left",
        negative_prompt="",
        num_frames=num_frames,
        fps=8,
        seed=1,
        model="random",
        guidance_scale=2.0,
        num_inference_steps=NUM_STEPS,
        profile=DEFAULT_PROFILE,
        first_chunk=FirstChunkSampling(num_inference_steps=NUM_STEPS, guidance_scale=2.0),
        refine=asked,
    )


def reset_peak() -> bool:
    """Reset the kernel's peak memory of this process; False if it cannot."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak() -> int:
    """Peak memory of this process since `reset_peak`, bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main(argv: list[str]) -> None:
    preset, schedule, num_frames = argv
    print(json.dumps(asdict(measure_here(Path(preset), cast(RefineSchedule, schedule), int(num_frames)))))


if __name__ == "__main__":
    main(sys.argv[1:])
