"""Progress of a stage while it trains: log.jsonl, TensorBoard event files, and a progress bar on the terminal.

Of several processes only the first one writes.
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

from core.model.training.loop import parallel
from core.service.domain.errors import SetupError

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

LOG = "log.jsonl"


@dataclass(frozen=True)
class StepMetrics:
    """Figures after one step."""

    step: int
    """Steps done."""
    seconds: float
    """Seconds of training, earlier runs included."""
    progress: float
    """Share of the stage that is done, in [0, 1]: of its steps or of its minutes, whichever ends it."""
    loss: float
    learning_rate: float


class TrainingLog(Protocol):
    """Receives every step."""

    def add(self, metrics: StepMetrics) -> None:
        """Record a step."""
        ...


class _NoLog:
    """For processes other than the first."""

    def add(self, metrics: StepMetrics) -> None:
        del metrics


class _FileLog:
    """Writes means over every `every` steps, and over the remaining ones at the end; moves the bar at each step."""

    def __init__(self, folder: Path, every: int, events: SummaryWriter, bar: Progress, task: TaskID) -> None:
        self._folder = folder
        self._every = every
        self._events = events
        self._bar = bar
        self._task = task
        self._losses: list[float] = []
        self._since = time.monotonic()
        self._first: StepMetrics | None = None
        self._last: StepMetrics | None = None

    def add(self, metrics: StepMetrics) -> None:
        self._losses.append(metrics.loss)
        self._last = metrics
        self._first = self._first or metrics
        self._bar.update(self._task, completed=metrics.progress, status=self._status(metrics))
        if metrics.step % self._every == 0:
            self.write()

    def write(self) -> None:
        """Write one line of means, if there were steps since the last one."""
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

    def _status(self, metrics: StepMetrics) -> str:
        """The text beside the bar: "step 120  loss 0.2104  1.32 steps/s  12:40 left"."""
        assert self._first is not None
        seconds = metrics.seconds - self._first.seconds
        steps, gained = metrics.step - self._first.step, metrics.progress - self._first.progress
        speed = f"{steps / seconds:.2f} steps/s" if steps and seconds > 0 else ""
        left = _clock(seconds / gained * (1 - metrics.progress)) + " left" if gained > 0 else ""
        loss = sum(self._losses[-self._every :]) / len(self._losses[-self._every :])
        return "  ".join(part for part in (f"step {metrics.step}", f"loss {loss:.4f}", speed, left) if part)


def _clock(seconds: float) -> str:
    """12:05, or 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def open_log(folder: Path, step: int, every: int) -> Generator[TrainingLog]:
    """The log of a stage's folder, continued after `step`: later lines of an interrupted run are removed.

    Raises SetupError if TensorBoard is not installed.
    """
    if parallel.rank() != 0:
        yield _NoLog()
        return
    _truncate(folder / LOG, step)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"))
    events = _open_events(folder, step)
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
        log = _FileLog(folder, every, events, bar, bar.add_task(folder.name, total=1.0, status=""))
        try:
            yield log
        finally:
            log.write()
            events.close()


def _open_events(folder: Path, step: int) -> SummaryWriter:
    """TensorBoard's event file. Imported here because `longtake evaluate` loads checkpoints without TensorBoard."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ModuleNotFoundError as error:
        fix = "pip install 'longtake[model,train]'"
        raise SetupError(f"training needs the Python package {error.name}", fix=fix) from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _truncate(log: Path, step: int) -> None:
    """Remove the lines after `step`, so that a resumed run's log reads like an uninterrupted one's."""
    if not log.is_file():
        return
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    if len(kept) < len(lines):
        log.write_text("".join(kept), encoding="utf-8")
