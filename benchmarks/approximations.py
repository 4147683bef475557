"""Speed and error of the optional approximations on `sprites`: the same window in full and approximated, in turn.

They are set as an operator sets them, by keys in a copy of preset.json. Error: PSNR between the new frames of the first
window after the same first chunk, and the standard deviation of the difference relative to that of the frames.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from core.model.engines.streaming_t2v.loading import load_engine
from core.service.domain.engine import NO_INPUT_MEDIA, Engine, EngineState, ignore_step
from core.service.domain.schema import DEFAULT_PROFILE, FirstChunkSampling, JobSpec
from core.service.settings import SHIPPED_PRESETS_DIR

VARIANTS: dict[str, dict[str, Any]] = {
    "deep_feature_steps 2": {"deep_feature_steps": 2},
    "deep_feature_steps 3": {"deep_feature_steps": 3},
    "guidance_interval 0.5 to 1": {"guidance_interval": [0.5, 1.0]},
    "guidance_interval 0.8 to 1": {"guidance_interval": [0.8, 1.0]},
}
PROMPTS = (
    "a red circle moving left over a striped background",
    "a blue square moving up over a checkered background",
    "a green triangle moving right over a dotted background",
)
NUM_STEPS = 24
"""More than the preset's own, so that neighbouring steps are as alike as the published model's."""


@dataclass(frozen=True)
class Timed:
    """A chunk and its CPU seconds, which depend little on other work of the machine."""

    seconds: float
    frames: NDArray[np.uint8]


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Speed and error of every variant."""
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        full = engine_with(Path(folder) / "full", {})
        others = {name: engine_with(Path(folder) / name.replace(" ", "-"), keys) for name, keys in VARIANTS.items()}
        results: list[dict[str, Timed]] = []
        for prompt in PROMPTS:
            say(f"approximations: {prompt}")
            start = first_chunk(full, prompt)
            results.append({name: timed_chunk(engine, *start) for name, engine in {"full": full, **others}.items()})
        return [figure for name in others for figure in compare(name, results)]


def engine_with(folder: Path, keys: dict[str, Any]) -> Engine:
    """The engine of the shipped preset with these keys added to its windows' sampling config."""
    shutil.copytree(SHIPPED_PRESETS_DIR / "sprites", folder)
    file = folder / "preset.json"
    preset = json.loads(file.read_text())
    preset["profiles"][DEFAULT_PROFILE]["windows"] |= keys
    file.write_text(json.dumps(preset))
    return load_engine(folder, device="cpu")


def job(prompt: str) -> JobSpec:
    return JobSpec(
        prompt=prompt,
        negative_prompt="",
        num_frames=24,
        fps=8,
        seed=1,
        model="sprites",
        guidance_scale=2.0,
        num_inference_steps=NUM_STEPS,
        profile=DEFAULT_PROFILE,
        first_chunk=FirstChunkSampling(num_inference_steps=16, guidance_scale=3.0),
    )


def first_chunk(engine: Engine, prompt: str) -> tuple[JobSpec, EngineState]:
    spec = job(prompt)
    return spec, engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), ignore_step).state


def compare(name: str, results: list[dict[str, Timed]]) -> list[Figure]:
    """One variant against the full result, over all prompts."""
    # All prompts cost the same work, so the fastest run of each is the least disturbed one.
    ratio = min(result["full"].seconds for result in results) / min(result[name].seconds for result in results)
    samples = [round(result[name].seconds, 2) for result in results]
    exact, approximate = (
        np.concatenate([result[which].frames for result in results]).astype(np.float64) for which in ("full", name)
    )
    error = approximate - exact
    share = 100 * float(error.std() / exact.std())
    note = f"one window each of {len(results)} prompts, {NUM_STEPS} steps"
    return [
        Figure(f"{name}, times as fast", round(ratio, 2), "x", samples=samples, note=note),
        Figure(f"{name}, PSNR to the full result", round(psnr(error), 1), "dB", note=note),
        Figure(f"{name}, deviation of the error", round(share, 1), "% of the frames'", note=note),
    ]


def timed_chunk(engine: Engine, spec: JobSpec, state: EngineState) -> Timed:
    started = time.process_time()
    chunk = engine.next_chunk(spec, state, ignore_step)
    return Timed(time.process_time() - started, chunk.frames)


def psnr(error: NDArray[np.float64]) -> float:
    """Peak signal-to-noise ratio in dB of an error in grey levels (peak 255)."""
    mean_square = float(np.mean(error**2))
    return math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)
