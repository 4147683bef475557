"""Make videos and measure them, one after another or in several processes at a time.

Every finished video is kept with the request that made it, so an interrupted run goes on where it stopped. It is
measured anew each time: seconds, against the minute that it takes to make one. Knows engines by their port only.

Shapes: T frames, H, W pixel rows and columns, C channels.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.model.evaluation.measurements import Measured, Measurer
from core.model.evaluation.reader import Frames
from core.model.training import sprites
from core.processes import end_with_parent
from core.service.domain.engine import NO_INPUT_MEDIA, Engine, ignore_step
from core.service.domain.schema import JobSpec


@dataclass(frozen=True)
class Order:
    """One video to be made: the scene that it should show, the request, and where it is kept (without an ending)."""

    scene: sprites.Scene
    spec: JobSpec
    stem: Path

    @property
    def frames_file(self) -> Path:
        """Its frames, uint8 [T, H, W, 3]."""
        return self.stem.with_suffix(".npz")

    @property
    def facts_file(self) -> Path:
        """What made it, and its figures."""
        return self.stem.with_suffix(".json")


Studio = Callable[[Order], Measured]
"""Makes the video of an order and measures it."""
OpenStudio = Callable[[], Studio]
"""Called once in every process: importable, its arguments bound by functools.partial."""
OnProgress = Callable[[int], None]
"""(videos done)."""


def fulfil(
    open_studio: OpenStudio, orders: Sequence[Order], on_progress: OnProgress, processes: int = 1
) -> list[Measured]:
    """Make and measure every video, in the order of `orders`."""
    for folder in {order.stem.parent for order in orders}:
        folder.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        return list(_one_by_one(open_studio(), orders, on_progress))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _enter, (open_studio,)) as pool:
        futures = [pool.submit(_fulfil_here, order) for order in orders]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                on_progress(done)
        except BaseException:
            # Else leaving the block would first make every video still waiting.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _one_by_one(studio: Studio, orders: Sequence[Order], on_progress: OnProgress) -> Iterator[Measured]:
    for done, order in enumerate(orders, start=1):
        yield studio(order)
        on_progress(done)


_studio: list[Studio] = []
"""The studio of a process of the pool."""


def _enter(open_studio: OpenStudio) -> None:
    if sys.platform == "linux":
        # Else they make what is left of a run that was killed, beside the one started after it.
        end_with_parent()
    # Ctrl-C reaches every process of a terminal: these end at once and leave the message to the first.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _studio.append(open_studio())


def _fulfil_here(order: Order) -> Measured:
    return _studio[0](order)


@dataclass(frozen=True)
class EngineStudio:
    """A studio whose videos an engine makes."""

    engine: Engine
    measure: Measurer

    def __call__(self, order: Order) -> Measured:
        """The figures of a video: of the one kept, where the same request was fulfilled by the same engine before."""
        facts = {"spec": order.spec.model_dump(mode="json"), "engine": self.engine.fingerprint}
        frames = _kept(order, facts)
        if frames is None:
            frames = make_video(self.engine, order.spec)
            _keep(order, frames)
        measured = self.measure(frames, order.scene)
        content = {"facts": facts, "figures": asdict(measured)}
        order.facts_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return measured


def _kept(order: Order, facts: dict[str, Any]) -> Frames | None:
    if not (order.facts_file.is_file() and order.frames_file.is_file()):
        return None
    if json.loads(order.facts_file.read_text(encoding="utf-8"))["facts"] != facts:
        return None
    return load_frames(order.frames_file)


def _keep(order: Order, frames: Frames) -> None:
    """Write the frames as a whole or not at all; facts that no longer hold go first."""
    order.facts_file.unlink(missing_ok=True)
    unfinished = order.stem.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(unfinished, frames=frames)
    unfinished.replace(order.frames_file)


def load_frames(file: Path) -> Frames:
    """Frames [T, H, W, 3] of a kept video."""
    frames: Frames = np.load(file)["frames"]
    return frames


def make_video(engine: Engine, spec: JobSpec) -> Frames:
    """All frames of a request, chunk by chunk."""
    return np.concatenate(list(chunks(engine, spec)))


def chunks(engine: Engine, spec: JobSpec) -> Iterator[Frames]:
    """The chunks of a request, each made when it is asked for."""
    state = engine.start(spec, NO_INPUT_MEDIA)
    while state.frames_done < spec.num_frames:
        chunk = engine.next_chunk(spec, state, ignore_step)
        state = chunk.state
        yield chunk.frames
