"""Progress of work that is counted in pieces: a progress bar on a terminal, a line every few seconds otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_LINE_EVERY_SECONDS = 5.0

Advance = Callable[[int], None]
"""(pieces done since the last call)."""


@contextmanager
def count_meter(
    stream: TextIO, what: str, unit: str, total: int, now: Callable[[], float] = time.monotonic
) -> Generator[Advance]:
    """An Advance that is shown on `stream` within the block, such as "measuring  48/240 frames"."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        yield _plain_lines(console, f"progress  {what}", unit, total, now)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=8) as bar:
        task = bar.add_task(what, total=total)
        yield lambda pieces: bar.advance(task, pieces)


def _plain_lines(console: Console, beginning: str, unit: str, total: int, now: Callable[[], float]) -> Advance:
    """A line at most every PLAIN_LINE_EVERY_SECONDS, and one at the end."""
    printed_at, done = now(), 0

    def advance(pieces: int) -> None:
        nonlocal printed_at, done
        if not pieces:
            return
        done += pieces
        if done == total or now() - printed_at >= PLAIN_LINE_EVERY_SECONDS:
            printed_at = now()
            console.print(f"{beginning}: {done}/{total} {unit}")
            console.file.flush()

    return advance
