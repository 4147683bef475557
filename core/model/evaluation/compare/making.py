"""Makes and measures the videos of a comparison. Each is stored at once; what is stored is neither made nor measured
again. A video that fails is named and loses no other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.disk_errors import disk_error_number
from core.metrics.evaluation.processes import Tell
from core.model.evaluation.compare.plan import ComparisonError, Plan, Video, named_borders
from core.model.evaluation.compare.ports import LoadMeasurement, LoadMethod, Measurement
from core.model.evaluation.compare.prefixes import measure_prefixes
from core.model.evaluation.compare.survival import Marked, work_on
from core.model.evaluation.compare.workspace import Workspace, facts_of
from core.model.evaluation.generation.progress import AddBar
from core.model.evaluation.methods.method import Method, MethodRequest
from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import LongtakeError
from core.service.domain.frame_plan import CHUNK_FRAMES

SOURCE = "streaming_t2v"
"""The method whose first chunk all methods get that can take one: it comes from the preset's first-chunk source."""


@dataclass(frozen=True)
class Tools:
    """What the videos of a comparison are made and measured with. Picklable."""

    workspace: Workspace
    load_method: LoadMethod
    load_measurement: LoadMeasurement


def make_all(plan: Plan, tools: Tools, processes: int, add_bar: AddBar) -> None:
    """Make and measure every video of the plan that is not finished; failures are stored.

    A process that is killed, as for memory, fails its video only. Raises ProcessKilled where that happens before any
    video, and what loading the measurement raises.
    """
    given = [name for name, facts in plan.methods.items() if facts.takes_first_chunk != "no"]
    if given:
        firsts = [plan.video(given[0], index) for index in range(len(plan.prompts))]
        counted = _Counter(add_bar, {"": ("first chunks", len(firsts))})
        marked = Marked(FirstChunkMaker(tools), tools.workspace.running / "first-chunks")
        for _ in work_on(marked, firsts, processes, tools.workspace.fail_first_chunk):
            counted.add("")
    # Method after method, so that a process seldom loads another one's networks.
    videos = [plan.video(name, index) for name in plan.methods for index in range(len(plan.prompts))]
    bars = {name: (facts.title, len(plan.prompts)) for name, facts in plan.methods.items()}
    counted = _Counter(add_bar, bars)
    marked = Marked(VideoMaker(tools), tools.workspace.running / "videos")
    for video in work_on(marked, videos, processes, tools.workspace.store_failure):
        counted.add(video.method)


class _Counter:
    """Progress bars by key."""

    def __init__(self, add_bar: AddBar, bars: Mapping[str, tuple[str, int]]) -> None:
        self._show = {key: add_bar(title, total) for key, (title, total) in bars.items()}
        self._done = dict.fromkeys(bars, 0)

    def add(self, key: str) -> None:
        self._done[key] += 1
        self._show[key](self._done[key])


@dataclass
class _LoadedMethod:
    """Keeps the method that was asked for last; what stood in the way of loading it is raised again."""

    load: LoadMethod
    name: str = ""
    found: Method | Exception | None = None

    def get(self, name: str) -> Method:
        if name != self.name:
            self.found = None  # its memory is free before the next networks are loaded
            self.name = name
            try:
                self.found = self.load(name)
            except Exception as error:
                self.found = error
        if isinstance(self.found, Exception):
            raise self.found
        assert self.found is not None, "loading gives a method or raises"
        return self.found


class FirstChunkMaker:
    """Makes first chunks with the preset's source."""

    def __init__(self, tools: Tools) -> None:
        self._workspace = tools.workspace
        self._source = _LoadedMethod(tools.load_method)

    def prepare(self) -> None:
        """Nothing: the source is loaded when a first chunk needs it."""

    def __call__(self, task: Video, tell: Tell) -> str | None:
        """Store the first chunk of a prompt; returns what went wrong, if it did."""
        del tell
        return _error_of(
            partial(self._make, task), partial(self._workspace.fail_first_chunk, task), self._workspace.folder
        )

    def _make(self, video: Video) -> None:
        source = self._source.get(SOURCE)
        facts = {"prompt": video.prompt, "seed": video.seed, "fingerprint": source.fingerprint}
        if self._workspace.has_first_chunk(video, facts):
            return
        frames = next(source.chunks(MethodRequest(video.prompt, video.seed, CHUNK_FRAMES)))
        self._workspace.store_first_chunk(video, facts, frames)


class VideoMaker:
    """Makes videos and measures them."""

    def __init__(self, tools: Tools) -> None:
        self._workspace = tools.workspace
        self._method = _LoadedMethod(tools.load_method)
        self._load_measurement = tools.load_measurement
        self._loaded: Measurement | None = None

    def prepare(self) -> None:
        """Load the measurement, once in a process."""
        self._loaded = self._load_measurement()

    def __call__(self, task: Video, tell: Tell) -> str | None:
        """Store a video and its figures; returns what went wrong, if it did."""
        del tell
        return _error_of(
            partial(self._finish, task), partial(self._workspace.store_failure, task), self._workspace.folder
        )

    @property
    def _measurement(self) -> Measurement:
        assert self._loaded is not None, "prepare() comes first"
        return self._loaded

    def _finish(self, video: Video) -> None:
        method = self._method.get(video.method)
        first_chunk = None if method.facts.takes_first_chunk == "no" else self._first_chunk(video)
        facts = facts_of(video, method.fingerprint, first_chunk)
        if not self._workspace.is_made(video, facts):
            parts = _Timed(method.chunks(MethodRequest(video.prompt, video.seed, video.frames), first_chunk))
            done = self._workspace.make(video, parts, method.fps)
            if done != video.frames:
                raise ComparisonError(f"{video.method} made {done} frames instead of {video.frames}")
            self._workspace.store_made(video, facts, parts.seconds, method.threads)
        borders = named_borders(method.facts.borders)
        if not self._workspace.is_measured(video, self._measurement.key, borders):
            metrics = self._measurement.metrics(video.prompt, method.fps, method.facts.borders)
            measured = measure_prefixes(self._workspace.frames(video), metrics, video.frames, self._measurement.flow)
            self._workspace.store_measured(video, self._measurement.key, borders, measured)
        self._workspace.forget_failure(video)

    def _first_chunk(self, video: Video) -> FramesTHWC:
        frames = self._workspace.first_chunk(video)
        if frames is None:
            error = self._workspace.first_chunk_error(video)
            raise ComparisonError(f"the first chunk, which it is to begin with, could not be made: {error}")
        return frames


class _Timed:
    """Parts of a video, with the seconds that its method needs for them; storing them does not count."""

    def __init__(self, parts: Iterator[FramesTHWC]) -> None:
        self._parts = parts
        self.seconds = 0.0

    def __iter__(self) -> Iterator[FramesTHWC]:
        return self

    def __next__(self) -> FramesTHWC:
        began = time.perf_counter()
        try:
            return next(self._parts)
        finally:
            self.seconds += time.perf_counter() - began


def _error_of(work: Callable[[], None], on_error: Callable[[str], None], folder: Path) -> str | None:
    """Do work that may fail; returns what went wrong, after `on_error` has it.

    Raises OSError, of the output `folder`, for a full or read-only disk: the other videos would fail, too.
    """
    try:
        work()
    except Exception as error:  # a method may raise anything, and the other videos go on
        if (number := disk_error_number(error)) is not None:
            # A plain one, as those of FFmpeg do not pass from process to process.
            raise OSError(number, os.strerror(number), str(folder)) from error
        text = error.with_fix if isinstance(error, LongtakeError) else f"{type(error).__name__}: {error}"
    else:
        return None
    on_error(text)
    return text
