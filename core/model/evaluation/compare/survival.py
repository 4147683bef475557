"""Work in processes of which one may be killed, as for memory: its task is known, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.metrics.evaluation.processes import ProcessKilled, Tell, work_all
from core.model.evaluation.compare.plan import Video


class VideoWork(Protocol):
    """What is done with each video. Picklable; returns what went wrong, if it did."""

    def prepare(self) -> None: ...

    def __call__(self, task: Video, tell: Tell) -> str | None: ...


@dataclass
class Marked:
    """Work that leaves a file in `folder` for as long as it is at a video."""

    work: VideoWork
    folder: Path

    def prepare(self) -> None:
        self.work.prepare()

    def __call__(self, task: Video, tell: Tell) -> str | None:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.file(task)
        file.touch()
        try:
            return self.work(task, tell)
        finally:
            file.unlink(missing_ok=True)

    def file(self, task: Video) -> Path:
        return self.folder / f"{task.method}-{task.index}"


def work_on(
    work: Marked, videos: Sequence[Video], processes: int, on_killed: Callable[[Video, str], None]
) -> Iterator[Video]:
    """The videos as they are done. Where a process is killed, the videos that were in work are tried again one at a
    time, each in a process of its own; one whose process is killed then as well is told to `on_killed`.

    Raises ProcessKilled if a process was killed before it began with a video. A comparison in one process is this
    process: it ends with it.
    """
    left = list(videos)
    while left:
        try:
            tasks = list(left)
            for index, _ in work_all(work, tasks, processes, _untold):
                left.remove(tasks[index])
                yield tasks[index]
        except ProcessKilled:
            suspects = [video for video in left if work.file(video).exists()]
            if not suspects:
                raise
            for video in suspects:
                left.remove(video)
                _try_alone(work, video, on_killed)
                yield video


def _try_alone(work: Marked, video: Video, on_killed: Callable[[Video, str], None]) -> None:
    try:
        for _ in work_all(work, [video], 1, _untold, apart=True):
            pass
    except ProcessKilled as error:
        work.file(video).unlink(missing_ok=True)
        on_killed(video, error.with_fix)


def _untold(frames: int) -> None:
    """The bars count videos."""
    del frames
