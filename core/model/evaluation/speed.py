"""How fast an engine makes a long video, decoding included. Knows engines by their port only."""

from __future__ import annotations

import time

from core.model.evaluation.videos import chunks
from core.service.domain.engine import Engine
from core.service.domain.schema import JobSpec

NUM_FRAMES = 64


def frames_per_second(engine: Engine, spec: JobSpec) -> list[float]:
    """Of every chunk after the first: what a long video lives on. Nothing else should use the machine meanwhile."""
    engine.warm_up()
    speeds: list[float] = []
    made = chunks(engine, spec.model_copy(update={"num_frames": NUM_FRAMES}))
    next(made)
    began = time.perf_counter()
    for frames in made:
        now = time.perf_counter()
        speeds.append(len(frames) / (now - began))
        began = now
    return speeds
