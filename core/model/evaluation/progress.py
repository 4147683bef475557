"""Bars that say how far an evaluation has come. Knows nothing of what is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[str, int], Callable[[int], None]]
"""(what is counted, how many) -> to be called with how many are done."""


@contextmanager
def progress_bar() -> Generator[Advance]:
    """A bar per thing that is counted, on stderr: stdout is the table's."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:

        def advance(what: str, total: int) -> Callable[[int], None]:
            task = bar.add_task(what, total=total)
            return lambda done: bar.update(task, completed=done)

        yield advance
