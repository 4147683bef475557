"""Speed of an engine on a long video, decoding included."""

from __future__ import annotations

import time

from core.model.evaluation.generation.videos import chunks
from core.service.domain.engine import Engine
from core.service.domain.schema import JobSpec

NUM_FRAMES = 64


def frames_per_second(engine: Engine, spec: JobSpec) -> list[float]:
    """Frames per second of every chunk after the first. Nothing else should use the machine meanwhile."""
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
