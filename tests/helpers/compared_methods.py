"""Methods and a measurement for tests of `longtake compare`: no network, and every call is written down in a file."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from core.metrics.video.metric import Curve, Metric
from core.metrics.video.seams import Borders
from core.model.evaluation.compare.making import Tools
from core.model.evaluation.compare.plan import Plan
from core.model.evaluation.compare.workspace import Workspace
from core.model.evaluation.methods.method import Method, MethodFacts, MethodRequest, TakesFirstChunk
from core.service.domain.engine import FrameHWC, FramesTHWC
from core.service.domain.errors import PresetError

SIDE = 32
TAKES: Mapping[str, TakesFirstChunk] = {
    "streaming_t2v": "all 16 frames",
    "concat": "all 16 frames",
    "last_frame": "its last frame",
    "free_noise": "no",
    "last_frame_trial": "its last frame",
}
BORDERS: Mapping[str, Borders] = {
    "streaming_t2v": Borders(16, 8),
    "concat": Borders(16, 8),
    "last_frame": Borders(16, 15),
    "last_frame_trial": Borders(16, 15),
}
BROKEN = "a prompt that breaks free_noise"
KILLED = "a prompt for which the process of free_noise is killed"
FULL = "a prompt for which the disk of free_noise is full"
NO_BEGINNING = "a prompt without a first chunk"


class FakeMethod(Method):
    """Its frames are of one colour: the prompt's brightness, and a channel of the method's own."""

    def __init__(self, name: str, calls: Path, version: str, threads: int) -> None:
        super().__init__(facts(name), 8, f"weights {version}; threads {threads}")
        self.threads = threads
        self._calls = calls

    def _made(self, request: MethodRequest) -> Iterator[FramesTHWC]:
        self._note(request)
        yield from self._frames(request, 0)

    def _continued(self, request: MethodRequest, first_chunk: FramesTHWC) -> Iterator[FramesTHWC]:
        self._note(request)
        yield first_chunk
        yield from self._frames(request, 16)

    def _note(self, request: MethodRequest) -> None:
        with self._calls.open("a") as file:
            file.write(f"{self.facts.name}\t{request.prompt}\t{request.num_frames}\n")
        if self.facts.name == "streaming_t2v" and request.prompt == NO_BEGINNING:
            raise RuntimeError("no beginning")
        if self.facts.name == "free_noise" and request.prompt == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.facts.name == "free_noise" and request.prompt == FULL:
            raise RuntimeError("encoding failed") from OSError(errno.EDQUOT, "Disk quota exceeded")
        if self.facts.name == "free_noise" and request.prompt == BROKEN:
            raise RuntimeError("out of <b>memory</b>")

    def _frames(self, request: MethodRequest, first: int) -> Iterator[FramesTHWC]:
        for start in range(first, request.num_frames, 16):
            count = min(16, request.num_frames - start)
            frames = np.random.default_rng((request.seed, start)).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
            frames[..., 0] = 10 + 50 * list(TAKES).index(self.facts.name)
            yield frames


class Redness(Metric):
    """`scuts` is the mean of the red channel of the frames so far, `mawe_v2` that of the last frame."""

    def __init__(self) -> None:
        self._reds: list[float] = []

    def add(self, frame: FrameHWC) -> None:
        self._reds.append(float(frame[..., 0].mean()))

    def values(self) -> Mapping[str, float | int | None]:
        return {"scuts": float(np.mean(self._reds)), "mawe_v2": self._reds[-1], "clip_score": None}

    def curves(self) -> Mapping[str, Curve]:
        return {"scuts": Curve(1, self._reds)}

    def notes(self) -> Sequence[str]:
        return ["a note"]


class FakeMeasurement:
    """Measures how red videos are."""

    flow = "none at all"
    notes = ()

    def __init__(self, version: str) -> None:
        self.key = {"version": version}

    def metrics(self, prompt: str, fps: int | Fraction, borders: Borders | None) -> Sequence[Metric]:
        assert prompt
        assert borders in (None, *BORDERS.values())
        assert fps == 8
        return [Redness()]


def load_fake(name: str, calls: Path, version: str, threads: int = 1) -> Method:
    if name not in TAKES:
        raise PresetError(f"there is no method {name}")
    return FakeMethod(name, calls, version, threads)


def facts(name: str) -> MethodFacts:
    return MethodFacts(name, name.replace("_", " "), TAKES[name], "a test", BORDERS.get(name))


def fingerprint(name: str, version: str = "1") -> str:
    """Of a fake method, without its threads."""
    return f"{name} version 1; weights {version}"


def fake_plan(methods: Sequence[str], prompts: Sequence[str], frames: int = 40, version: str = "1") -> Plan:
    fingerprints = {name: fingerprint(name, version) for name in methods}
    return Plan("toy", {name: facts(name) for name in methods}, prompts, "a test", frames, 7, {}, (), fingerprints)


def fake_tools(folder: Path, version: str = "1", measurement: str = "1", threads: int = 1) -> Tools:
    folder.mkdir(parents=True, exist_ok=True)
    load = partial(load_fake, calls=folder / "calls.txt", version=version, threads=threads)
    return Tools(Workspace(folder), load, partial(FakeMeasurement, measurement))


def calls(folder: Path) -> list[tuple[str, str, int]]:
    """(method, prompt, frames) of every video that was made, in order."""
    lines = [line.split("\t") for line in (folder / "calls.txt").read_text().splitlines()]
    return [(method, prompt, int(frames)) for method, prompt, frames in lines]
