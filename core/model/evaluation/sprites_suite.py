"""The `sprites` suite: videos of held-out prompts, measured against the scenes that the prompts describe.

A scene is drawn and put into its most usual words; a video is made from the words alone; the reader says what it shows.
Every finished video is kept with its figures, so an interrupted run goes on where it stopped. Knows engines by their
port only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.model.evaluation.figures import VideoFigures, measure
from core.model.evaluation.reader import Frames
from core.model.training import captions, sprites
from core.service.engine import NOTHING_GIVEN, Engine
from core.service.schema import JobSpec

SUITE_SEED = 2024

MakeSpec = Callable[[str, int, int], JobSpec]
"""(prompt, num_frames, seed) -> a complete request."""
OnProgress = Callable[[int, int], None]
"""(videos done, videos in all)."""


def suite_scenes(count: int) -> list[sprites.Scene]:
    """Held-out scenes, the same for every model."""
    return [sprites.sample_scene(np.random.default_rng((SUITE_SEED, index)), "held_out") for index in range(count)]


def run_suite(
    engine: Engine, make_spec: MakeSpec, num_prompts: int, num_frames: int, folder: Path, on_progress: OnProgress
) -> list[VideoFigures]:
    """Make and measure the suite's videos. `folder` keeps <index>.npz (frames) and <index>.json (figures)."""
    folder.mkdir(parents=True, exist_ok=True)
    measured: list[VideoFigures] = []
    for index, scene in enumerate(suite_scenes(num_prompts)):
        on_progress(index, num_prompts)
        spec = make_spec(captions.plain_caption(scene), num_frames, SUITE_SEED + index)
        measured.append(_measured_once(engine, spec, scene, folder / f"{index:03d}"))
    on_progress(num_prompts, num_prompts)
    return measured


def _measured_once(engine: Engine, spec: JobSpec, scene: sprites.Scene, stem: Path) -> VideoFigures:
    """Figures of a video: those kept, where the same request was made before by the same engine."""
    facts = {"spec": spec.model_dump(mode="json"), "engine": engine.fingerprint}
    kept = _kept(stem.with_suffix(".json"))
    if kept is not None and kept["facts"] == facts:
        return VideoFigures(**kept["figures"])
    frames = make_video(engine, spec)
    figures = measure(frames, scene)
    np.savez_compressed(stem.with_suffix(".npz"), frames=frames)
    stem.with_suffix(".json").write_text(json.dumps({"facts": facts, "figures": asdict(figures)}, indent=1))
    return figures


def _kept(file: Path) -> dict[str, dict[str, Any]] | None:
    return json.loads(file.read_text()) if file.exists() else None


def make_video(engine: Engine, spec: JobSpec) -> Frames:
    """All frames of a request, chunk by chunk."""
    return np.concatenate(list(_chunks(engine, spec)))


def _chunks(engine: Engine, spec: JobSpec) -> Iterator[Frames]:
    state = engine.start(spec, NOTHING_GIVEN)
    while state.frames_done < spec.num_frames:
        chunk = engine.next_chunk(spec, state, lambda _step, _steps: None)
        state = chunk.state
        yield chunk.frames
