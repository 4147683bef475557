"""The same work on many things, in this process or in several."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from core.processes import end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_all(
    load_worker: Callable[[], Callable[[Task], Result]],
    tasks: Sequence[Task],
    on_result: Callable[[Task, Result], None],
    processes: int = 1,
) -> list[Result]:
    """What the worker returns for every task, in the order of `tasks`; `on_result` is called as they finish.

    `load_worker` is called once in every process: a module-level function or a partial of one. What a worker raises is
    raised here, and ends the rest.
    """
    if processes == 1:
        worker, results = load_worker(), list[Result]()
        for task in tasks:
            results.append(worker(task))
            on_result(task, results[-1])
        return results
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, (load_worker,)) as pool:
        futures = {pool.submit(_work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                on_result(futures[future], future.result())
        except BaseException:
            # Otherwise leaving the block would first do all remaining tasks.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


_worker: list[Callable[[Any], Any]] = []
"""The worker of a pool process."""


def _start(load_worker: Callable[[], Callable[[Any], Any]]) -> None:
    if sys.platform == "linux":
        # Otherwise the children of a killed run would continue beside the next run.
        end_with_parent()
    # Ctrl-C reaches every process of a terminal: these end silently, the first one prints the message.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _worker.append(load_worker())


def _work(task: Any) -> Any:
    return _worker[0](task)
