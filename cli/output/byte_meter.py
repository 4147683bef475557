"""Progress of work that is counted in bytes: a progress bar on a terminal, a line every few seconds otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

PLAIN_LINE_EVERY_SECONDS = 5.0

Report = Callable[[str, int, int], None]
"""`report(phase, done_bytes, total_bytes)`."""


@contextmanager
def byte_meter(stream: TextIO, now: Callable[[], float] = time.monotonic) -> Generator[Report]:
    """A Report that is shown on `stream` within the block."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        yield _plain_lines(console, now)
        return
    columns = (
        TextColumn("{task.description:<16}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=12) as bar:
        task = bar.add_task("", total=None)

        def report(phase: str, done_bytes: int, total_bytes: int) -> None:
            bar.update(task, description=phase, completed=done_bytes, total=total_bytes)

        yield report


def _plain_lines(console: Console, now: Callable[[], float]) -> Report:
    """A line at most every PLAIN_LINE_EVERY_SECONDS, and one at the end."""
    printed_at = now()

    def report(phase: str, done_bytes: int, total_bytes: int) -> None:
        nonlocal printed_at
        is_end = done_bytes == total_bytes
        if is_end or now() - printed_at >= PLAIN_LINE_EVERY_SECONDS:
            printed_at = now()
            console.print(f"progress  {phase}: {decimal(done_bytes)} of {decimal(total_bytes)}")
            console.file.flush()

    return report
