"""Terminal output: a progress bar on a terminal, plain lines otherwise. Texts come from job_diff.py and summary.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from cli.output.job_diff import ReadChunks, changed_lines, fraction_done, progress_line
from cli.output.summary import Summary
from core.service.domain.schema import Job

PLAIN_LINE_EVERY_SECONDS = 2.0
BAR_STEPS = 1000


class Screen:
    """One output stream."""

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._now = now

    @property
    def interactive(self) -> bool:
        return self._console.is_terminal

    def say(self, text: str = "") -> None:
        """One line, never wrapped or cut: URLs stay whole. Flushed, so that a pipe sees it at once."""
        self._console.print(text)
        self._console.file.flush()

    def show_job(self, jobs: Iterable[Job], read_chunks: ReadChunks) -> None:
        """Show a job from the views that `job.follow` yields."""
        with self._meter() as show_progress:
            before: Job | None = None
            for job in jobs:
                for line in changed_lines(before, job, read_chunks):
                    self.say(line)
                show_progress(job)
                before = job

    @contextmanager
    def _meter(self) -> Generator[Callable[[Job], None]]:
        if not self.interactive:
            yield self._plain_meter()
            return
        columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=self._console, transient=True, refresh_per_second=12) as bar:
            task = bar.add_task("", total=BAR_STEPS)

            def show(job: Job) -> None:
                done = fraction_done(job.progress) * BAR_STEPS
                bar.update(task, completed=done, description=progress_line(job.progress))

            yield show

    def _plain_meter(self) -> Callable[[Job], None]:
        """A line at most every PLAIN_LINE_EVERY_SECONDS, and only while a chunk is being made."""
        printed_at = self._now() - PLAIN_LINE_EVERY_SECONDS

        def show(job: Job) -> None:
            nonlocal printed_at
            has_steps = job.progress.steps or job.progress.refine_steps
            if has_steps and self._now() - printed_at >= PLAIN_LINE_EVERY_SECONDS:
                printed_at = self._now()
                self.say(f"progress  {progress_line(job.progress)}")

        return show

    def show_summary(self, summary: Summary) -> None:
        """The figures of a finished job and its time per phase."""
        of_engine = _number(summary.first_chunk_engine_seconds, "s")
        self.say(f"time to first chunk  {_number(summary.first_chunk_seconds, 's')} (engine {of_engine})")
        self.say(f"seconds per chunk    {_number(summary.seconds_per_chunk, 's')}")
        self.say(f"frames per second    {_number(summary.frames_per_second, '')}")
        if not summary.wall_seconds:
            return
        table = Table("where time went", "seconds", "share", box=None, pad_edge=False)
        table.columns[1].justify = table.columns[2].justify = "right"
        for phase, seconds in summary.phases.items():
            table.add_row(phase, f"{seconds:.2f}", f"{seconds / summary.wall_seconds:.1%}")
        self._console.print(table)


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.2f} {unit}".rstrip()
