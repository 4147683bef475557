"""Progress bars of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

AddBar = Callable[[str, int], Callable[[int], None]]
"""(description, total) -> a function to call with the number done so far."""


@contextmanager
def progress_bars() -> Generator[AddBar]:
    """Bars on stderr, as stdout is for the table."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:

        def add(description: str, total: int) -> Callable[[int], None]:
            task = bar.add_task(description, total=total)
            return lambda done: bar.update(task, completed=done)

        yield add
