"""The picture of `longtake status`: what needs somebody, then workers, queues and rates. For 80 columns and more.

Names come from settings and presets of others: they are shown as `Text`, in which nothing is markup, and without
control characters.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from client import ServiceStatus
from core.service.domain.priority import Priority
from core.service.domain.schema import LANES_OF_ANY_MODEL
from core.service.domain.service_status import PauseView, PieceView, QueueView, WorkerNow

WARNING, ALARM, QUIET = "bold yellow", "bold red", "dim"
MINUTE, HOUR, DAY = 60, 3600, 86400
_STYLES = {"busy": "green", "not ready": ALARM, "paused": WARNING, "pausing": WARNING}


@dataclass(frozen=True)
class Outage:
    """Since when the API has not answered, and why."""

    since: datetime
    reason: str


def picture(status: ServiceStatus, url: str, outage: Outage | None = None) -> RenderableType:
    """All of it. `outage`: the API does not answer, and `status` is its last answer."""
    title = Text.assemble(("Longtake", "bold"), f" {printable(url)}  {status.at:%Y-%m-%d %H:%M:%S} UTC")
    lines = [*([_outage_line(outage)] if outage else []), *_needs(status)]
    sections = (_workers(status), _queues(status), _rates(status))
    return Group(title, *lines, *(part for section in sections for part in section), Text(), _totals(status))


def printable(text: str) -> str:
    """The text without control characters: a terminal obeys them."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def duration(seconds: float) -> str:
    """At most six characters: 4.2 s, 42 s, 12 min, 3.5 h, 12 d."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} d"


def _outage_line(outage: Outage) -> Text:
    since = f"{outage.since:%H:%M:%S} UTC"
    return Text(f"! the API has not answered since {since}: {printable(outage.reason)}", ALARM)


def _needs(status: ServiceStatus) -> Iterator[Text]:
    """A line for each thing that somebody must do something about."""
    for pause in status.paused:
        what, option = _paused(pause)
        since = f"{pause.since:%Y-%m-%d %H:%M} UTC"
        yield Text(f"! {what} is paused since {since}: `longtake resume{option}` lets it go on", WARNING)
    for queue in status.queues:
        for lane in queue.unserved:
            yield Text(f"! {printable(_work_of(queue, lane))} waits, and no worker can take it: {_fix(queue)}", ALARM)
    for worker in status.workers:
        if worker.state == "not_ready" and worker.reason:
            yield Text(f"! {printable(worker.name)} is not ready: {printable(worker.reason)}", ALARM)


def _paused(pause: PauseView) -> tuple[str, str]:
    """What is paused, and the option that names it."""
    if pause.worker is not None:
        return f"worker {printable(pause.worker)}", f" --worker {shlex.quote(printable(pause.worker))}"
    if pause.model is not None:
        return f"model {printable(pause.model)}", f" --model {shlex.quote(printable(pause.model))}"
    return "everything", ""


def _work_of(queue: QueueView, lane: str) -> str:
    return f"{lane} of all models" if lane in LANES_OF_ANY_MODEL else f"{lane} of {queue.pool}"


def _fix(queue: QueueView) -> str:
    if queue.pool in LANES_OF_ANY_MODEL:
        return "start `longtake worker --kind cpu`"
    return f"start `longtake worker --model {shlex.quote(printable(queue.pool))}`"


def _workers(status: ServiceStatus) -> Iterator[RenderableType]:
    yield _heading("Workers")
    if not status.workers:
        yield Text("none is running", QUIET)
        return
    table = _table(["name", "state", "job", "making"], ["for"])
    for column in (table.columns[1], table.columns[2], table.columns[4]):
        column.no_wrap = True
    for worker in status.workers:
        state = _state(worker)
        cells = [Text(printable(worker.name)), Text(state, _STYLES.get(state, ""))]
        for piece in worker.making or [None]:
            table.add_row(*cells, *_piece_cells(piece, worker))
            cells = [Text(), Text()]
    yield table


def _state(worker: WorkerNow) -> str:
    if worker.paused and worker.state in {"ready", "busy"}:
        return "pausing" if worker.making else "paused"
    if worker.making and worker.state == "ready":  # a CPU worker, whose threads work beside one another
        return "busy"
    return worker.state.replace("_", " ")


def _piece_cells(piece: PieceView | None, worker: WorkerNow) -> tuple[Text, Text, Text]:
    if piece is None:
        waits = worker.reason if worker.state != "not_ready" else None  # that one has a line at the top
        return Text(), Text(printable(waits or ""), QUIET), Text()
    chunk = "" if piece.chunk is None else f" {piece.chunk}"
    step = "" if piece.step is None else f" ({piece.step}/{piece.steps})"
    return Text(printable(piece.job_id)), Text(f"{piece.lane}{chunk}{step}"), Text(duration(piece.seconds))


def _queues(status: ServiceStatus) -> Iterator[RenderableType]:
    yield _heading("Queues")
    if not status.queues:
        yield Text("no work and no worker", QUIET)
        return
    classes, others = [each.value for each in Priority], ["new", "begun", "oldest", "work"]
    table = _table(["pool"], [*classes, *others, "active", "desired", "workers"])
    for queue in status.queues:
        waiting = [str(queue.waiting.get(each, 0)) for each in Priority]
        jobs = [str(queue.queued_jobs), str(queue.begun_jobs)]
        seconds = [_or_dash(queue.waiting_seconds), "?" if queue.queue_seconds is None else _work(queue.queue_seconds)]
        workers = [str(count) for count in (queue.active_workers, queue.desired_workers, queue.workers)]
        style = ALARM if queue.unserved else ""
        table.add_row(Text(printable(queue.pool), style), *map(Text, (*waiting, *jobs, *seconds, *workers)))
    yield table


def _rates(status: ServiceStatus) -> Iterator[RenderableType]:
    yield _heading(f"Rates of the last {status.rate_seconds:.0f} s")
    if not status.rates:
        yield Text("nothing was committed", QUIET)
        return
    table = _table(["model", "lane"], ["chunks/s", "frames/s", "x real time"])
    for rate in status.rates:
        numbers = (f"{rate.chunks_per_second:.2f}", f"{rate.frames_per_second:.1f}", f"{rate.realtime_factor:.2f}")
        table.add_row(Text(printable(rate.model)), Text(rate.lane), *map(Text, numbers))
    yield table


def _totals(status: ServiceStatus) -> Text:
    jobs = ", ".join(f"{count} {name}" for name, count in status.jobs.items() if count)
    return Text(f"Jobs: {jobs or 'none'}\nWebhooks to be sent: {status.webhooks_pending}")


def _heading(text: str) -> Text:
    return Text(f"\n{text}", "bold")


def _table(texts: Iterable[str], numbers: Iterable[str]) -> Table:
    """An empty table: columns of texts, of which the first is folded if it is too long, then of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style=QUIET)
    for name in texts:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    table.columns[0].overflow = "fold"
    return table


def _or_dash(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _work(seconds: float) -> str:
    return duration(seconds) if seconds else "-"
