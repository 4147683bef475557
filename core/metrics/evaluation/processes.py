"""Does the same work on many videos, in this process or in several, and tells how many frames are done."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Generic, Protocol, TypeVar

from core.processes import end_with_parent
from core.service.domain.errors import SetupError

T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
R = TypeVar("R")
Tell = Callable[[int], None]
"""(frames done since the last call)."""
_LOOK_EVERY_SECONDS = 0.25


class Work(Protocol, Generic[T_contra, R_co]):
    """What is done with each task. Picklable; exceptions that it raises end the run."""

    def prepare(self) -> None:
        """Called once in every process, before the first task."""
        ...

    def __call__(self, task: T_contra, tell: Tell) -> R_co: ...


class ProcessKilled(SetupError):
    """A process was killed from outside, as for memory."""


def work_all(
    work: Work[T, R], tasks: Sequence[T], processes: int, tell: Tell, *, apart: bool = False
) -> Iterator[tuple[int, R]]:
    """(index, result) of each task, as they come. An exception, or Ctrl-C, ends what is running. `apart`: in a process
    other than this one even if one is enough.

    Raises ProcessKilled where a process was killed from outside.
    """
    processes = min(processes, len(tasks))
    if processes > 1 or (processes and apart):
        yield from _in_processes(work, tasks, processes, tell)
    elif tasks:
        work.prepare()
        for index, task in enumerate(tasks):
            yield index, work(task, tell)


def _in_processes(work: Work[T, R], tasks: Sequence[T], processes: int, tell: Tell) -> Iterator[tuple[int, R]]:
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    told = 0

    def tell_news() -> None:
        nonlocal told
        done = counter.value
        tell(done - told)
        told = done

    with _pool(ProcessPoolExecutor(processes, context, _start, (work, counter))) as pool:
        waiting: dict[Future[Any], int] = {pool.submit(_work_on, task): index for index, task in enumerate(tasks)}
        while waiting:
            done, _ = wait(waiting, timeout=_LOOK_EVERY_SECONDS, return_when=FIRST_COMPLETED)
            tell_news()
            for future in done:
                yield waiting.pop(future), future.result()


@contextlib.contextmanager
def _pool(pool: ProcessPoolExecutor) -> Generator[ProcessPoolExecutor]:
    """A pool whose processes end with the block, at once where it ends by an exception."""
    others = set(multiprocessing.active_children())
    try:
        yield pool
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            fix = "if memory is short, use fewer --processes; the same command goes on from here"
            raise ProcessKilled("a measuring process was killed", fix=fix) from error
        raise
    pool.shutdown()


_state: list[Any] = []
"""Of a pool process: its work, and the counter of frames that all share."""


def _start(work: Work[Any, Any], counter: Synchronized[int]) -> None:
    if sys.platform == "linux":
        # Otherwise the children of a killed run would continue beside the next run.
        end_with_parent()
    # Ctrl-C reaches every process of a terminal: these end silently, the first one prints the message.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    work.prepare()
    _state[:] = [work, counter]


def _work_on(task: object) -> object:
    work, counter = _state

    def tell(frames: int) -> None:
        with counter.get_lock():
            counter.value += frames

    return work(task, tell)
