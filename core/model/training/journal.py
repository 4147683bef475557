"""What a stage tells while it trains: log.jsonl, TensorBoard's event files, and a progress bar on the terminal.

Knows numbers only: no task and no network. Of several processes the first one keeps the journal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from core.model.training import parallel
from core.service.domain.errors import SetupError

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

LOG = "log.jsonl"


@dataclass(frozen=True)
class Moment:
    """Where a stage stands after a step."""

    step: int
    """Steps done."""
    seconds: float
    """Seconds of training, those of earlier runs included."""
    progress: float
    """Share of the stage that is done, in [0, 1]: of its steps or of its minutes, whichever ends it."""
    loss: float
    learning_rate: float


class Journal(Protocol):
    """Hears of every step."""

    def note(self, moment: Moment) -> None:
        """Take down a step."""
        ...


class _Silence:
    """The journal of processes that keep none."""

    def note(self, moment: Moment) -> None:
        del moment


class _Book:
    """Writes the means of every `every` steps, and of what is left at the end; moves the bar at each step."""

    def __init__(self, folder: Path, every: int, events: SummaryWriter, bar: Progress, task: TaskID) -> None:
        self._folder = folder
        self._every = every
        self._events = events
        self._bar = bar
        self._task = task
        self._losses: list[float] = []
        self._since = time.monotonic()
        self._began: Moment | None = None
        self._last: Moment | None = None

    def note(self, moment: Moment) -> None:
        self._losses.append(moment.loss)
        self._last = moment
        self._began = self._began or moment
        self._bar.update(self._task, completed=moment.progress, told=self._told(moment))
        if moment.step % self._every == 0:
            self.write()

    def write(self) -> None:
        """One line of means, where there was a step since the last one."""
        if self._last is None or not self._losses:
            return
        step, loss = self._last.step, sum(self._losses) / len(self._losses)
        rate = len(self._losses) / max(1e-9, time.monotonic() - self._since)
        with (self._folder / LOG).open("a", encoding="utf-8") as lines:
            line = {"step": step, "seconds": round(self._last.seconds, 1), "loss": round(loss, 5)}
            lines.write(json.dumps(line) + "\n")
        scalars = {"loss": loss, "learning_rate": self._last.learning_rate, "steps_per_second": rate}
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)
        self._losses, self._since = [], time.monotonic()

    def _told(self, moment: Moment) -> str:
        """What stands beside the bar: "step 120  loss 0.2104  1.32 steps/s  12:40 left"."""
        assert self._began is not None
        seconds = moment.seconds - self._began.seconds
        steps, gained = moment.step - self._began.step, moment.progress - self._began.progress
        pace = f"{steps / seconds:.2f} steps/s" if steps and seconds > 0 else ""
        left = _clock(seconds / gained * (1 - moment.progress)) + " left" if gained > 0 else ""
        loss = sum(self._losses[-self._every :]) / len(self._losses[-self._every :])
        return "  ".join(part for part in (f"step {moment.step}", f"loss {loss:.4f}", pace, left) if part)


def _clock(seconds: float) -> str:
    """12:05, or 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def kept_journal(folder: Path, step: int, every: int) -> Generator[Journal]:
    """The journal of a stage's folder, going on after `step`: what an interrupted run noted later is struck out.

    Raises SetupError where TensorBoard is not installed.
    """
    if parallel.rank() != 0:
        yield _Silence()
        return
    _strike_out(folder / LOG, step)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    events = _open_events(folder, step)
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
        book = _Book(folder, every, events, bar, bar.add_task(folder.name, total=1.0, told=""))
        try:
            yield book
        finally:
            book.write()
            events.close()


def _open_events(folder: Path, step: int) -> SummaryWriter:
    """TensorBoard's file. Imported here: what reads trained networks only, `longtake evaluate`, does without it."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ModuleNotFoundError as error:
        fix = "pip install 'longtake[model,train]'"
        raise SetupError(f"training needs the Python package {error.name}", fix=fix) from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _strike_out(log: Path, step: int) -> None:
    """Drop the lines after `step`, so that a resumed run's log reads as an uninterrupted one's."""
    if not log.is_file():
        return
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    if len(kept) < len(lines):
        log.write_text("".join(kept), encoding="utf-8")
