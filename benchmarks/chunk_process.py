"""The process of one checkout in `benchmarks.chunks`: makes a chunk of `sprites` for every line that it reads.

Usage: python -P chunk_process.py CHECKOUT THREADS, with PYTHONPATH=CHECKOUT. Runs in checkouts from commit a4c063a on,
so it imports nothing of `benchmarks` and takes steps and guidance from the preset.json there. Lines: `first` begins the
video anew, `later` makes the chunk after the first. Each is answered by its seconds and its CPU seconds.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

PRESET = Path("core/model/presets/sprites")
PROMPT = "a red circle moving left over a striped background"
PROFILE = "fast"


def either(*names: str) -> ModuleType:
    """The first of these modules that the checkout has: names before and after modules were moved."""
    for name in names[:-1]:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    return importlib.import_module(names[-1])


def job(preset: dict[str, Any], schema: ModuleType) -> Any:
    """The checkout's JobSpec of a long video at the profile as shipped."""
    profile = preset["profiles"][PROFILE]
    windows, first = (
        {key: part[key] for key in ("num_inference_steps", "guidance_scale")}
        for part in (profile["windows"], profile["first_chunk"])
    )
    sizes = {"num_frames": 480, "fps": 8, "seed": 1}
    texts = {"prompt": PROMPT, "negative_prompt": "", "model": "sprites", "profile": PROFILE}
    return schema.JobSpec(**texts, **sizes, **windows, first_chunk=schema.FirstChunkSampling(**first))


def main(tree: Path, threads: int) -> None:
    """Answer lines until there are no more."""
    engines = either("core.service.domain.engine", "core.service.engine")
    schema = either("core.service.domain.schema", "core.service.schema")
    loading = either("core.model.engines.streaming_t2v.loading", "core.model.presets")
    engine = loading.load_engine(tree / PRESET, device="cpu", torch_threads=threads)
    spec = job(json.loads((tree / PRESET / "preset.json").read_text()), schema)
    nothing = engines.NO_INPUT_MEDIA if hasattr(engines, "NO_INPUT_MEDIA") else engines.NOTHING_GIVEN
    start = engine.start(spec, nothing)
    after_first = engine.next_chunk(spec, start, engines.ignore_step).state
    for line in sys.stdin:
        state = start if line.strip() == "first" else after_first
        began, cpu = time.perf_counter(), time.process_time()
        engine.next_chunk(spec, state, engines.ignore_step)
        print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
