"""Make videos with an engine and measure them, in this process or in several.

Every finished video is stored with its request, so an interrupted run continues where it stopped. Stored videos are
measured again each time, as that takes seconds and making one takes a minute.

Shapes: T frames, H, W pixel rows and columns, C channels.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from core.model.evaluation.metrics.measurements import Measured, Measurer
from core.model.training.sprites import world
from core.processes import end_with_parent
from core.service.domain.engine import NO_INPUT_MEDIA, Engine, FramesTHWC, ignore_step
from core.service.domain.schema import JobSpec
from core.whole_files import unfinished


@dataclass(frozen=True)
class VideoRequest:
    """One video to make: the scene it should show, the job's spec, and its path without suffix."""

    scene: world.Scene
    spec: JobSpec
    stem: Path

    @property
    def frames_file(self) -> Path:
        """Its frames, uint8 [T, H, W, 3]."""
        return self.stem.with_suffix(".npz")

    @property
    def figures_file(self) -> Path:
        """Its spec, the engine's fingerprint, and its figures, as JSON."""
        return self.stem.with_suffix(".json")


Evaluator = Callable[[VideoRequest], Measured]
"""Makes a video and measures it."""
ResultT = TypeVar("ResultT")
OnProgress = Callable[[int], None]
"""(videos done)."""


def evaluate_all(
    load_evaluator: Callable[[], Callable[[VideoRequest], ResultT]],
    requests: Sequence[VideoRequest],
    on_progress: OnProgress,
    processes: int = 1,
) -> list[ResultT]:
    """Make and measure every video; results are in the order of `requests`.

    `load_evaluator` is called once in every process. Picklable: a module-level function or a partial of one.
    """
    for folder in {request.stem.parent for request in requests}:
        folder.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        return list(_one_by_one(load_evaluator(), requests, on_progress))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, (load_evaluator,)) as pool:
        futures = [pool.submit(_evaluate, request) for request in requests]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                on_progress(done)
        except BaseException:
            # Otherwise leaving the block would first make all remaining videos.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _one_by_one(
    evaluator: Callable[[VideoRequest], ResultT], requests: Sequence[VideoRequest], on_progress: OnProgress
) -> Iterator[ResultT]:
    for done, request in enumerate(requests, start=1):
        yield evaluator(request)
        on_progress(done)


_evaluator: list[Callable[[VideoRequest], Any]] = []
"""The evaluator of a pool process."""


def _start(load_evaluator: Callable[[], Callable[[VideoRequest], Any]]) -> None:
    if sys.platform == "linux":
        # Otherwise the children of a killed run would continue beside the next run.
        end_with_parent()
    # Ctrl-C reaches every process of a terminal: these end silently, the first one prints the message.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _evaluator.append(load_evaluator())


def _evaluate(request: VideoRequest) -> Any:
    return _evaluator[0](request)


@dataclass(frozen=True)
class EngineEvaluator:
    """Makes videos with an engine."""

    engine: Engine
    measure: Measurer

    def __call__(self, request: VideoRequest) -> Measured:
        """The figures of a video; a stored video of the same request and engine is reused."""
        key = {"spec": facts_of(request.spec), "engine": self.engine.fingerprint}
        frames = _stored(request, key)
        if frames is None:
            frames = make_video(self.engine, request.spec)
            _store(request, frames)
        measured = self.measure(frames, request.scene)
        content = {"facts": key, "figures": asdict(measured)}
        request.figures_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return measured


def facts_of(spec: JobSpec) -> dict[str, Any]:
    """What is written of a request beside its figures, as JSON. Without the priority, which changes nothing in the
    video: figures that were measured before there was one are still those of the request."""
    return spec.model_dump(mode="json", exclude={"priority"})


def _stored(request: VideoRequest, key: dict[str, Any]) -> FramesTHWC | None:
    if not (request.figures_file.is_file() and request.frames_file.is_file()):
        return None
    if json.loads(request.figures_file.read_text(encoding="utf-8"))["facts"] != key:
        return None
    return load_frames(request.frames_file)


def _store(request: VideoRequest, frames: FramesTHWC) -> None:
    """Write the frames atomically, after removing outdated figures."""
    request.figures_file.unlink(missing_ok=True)
    with unfinished(request.frames_file) as part, part.open("wb") as file:
        np.savez_compressed(file, frames=frames)


def load_frames(file: Path) -> FramesTHWC:
    """Frames [T, H, W, 3] of a stored video."""
    frames: FramesTHWC = np.load(file)["frames"]
    return frames


def make_video(engine: Engine, spec: JobSpec) -> FramesTHWC:
    """All frames of a request, chunk by chunk."""
    return np.concatenate(list(chunks(engine, spec)))


def chunks(engine: Engine, spec: JobSpec) -> Iterator[FramesTHWC]:
    """The chunks of a request, generated lazily."""
    state = engine.start(spec, NO_INPUT_MEDIA)
    while state.frames_done < spec.length:
        chunk = engine.next_chunk(spec, state, ignore_step)
        state = chunk.state
        yield chunk.frames
