"""The picture of `longtake status`: what needs somebody, then queues, rates and workers. For 80 columns and more.

Names come from settings and presets of others: they are shown as `Text`, in which nothing is markup, and without
control characters.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from cli.output.status_text import ALARM, QUIET, WARNING, duration, plain_table, printable
from cli.output.worker_lines import worker_lines
from client import ServiceStatus
from core.service.domain.priority import Priority
from core.service.domain.schema import LANES_OF_ANY_MODEL
from core.service.domain.service_status import PauseView, QueueView

NEEDS_SHARE = 4
"""What needs somebody has at most one of so many parts of the terminal's height."""


@dataclass(frozen=True)
class Outage:
    """Since when the API has not answered, and why."""

    since: datetime
    reason: str


@dataclass(frozen=True)
class Picture:
    """All of it. `outage`: the API does not answer, and `status` is its last answer. `fitted`: to the height of the
    terminal, so that of many workers those are left out that need nobody; otherwise all are shown."""

    status: ServiceStatus
    url: str
    outage: Outage | None = None
    fitted: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        def lines_of(part: RenderableType) -> int:
            return len(console.render_lines(part, options, pad=False))

        status, height = self.status, options.size.height
        title = Text.assemble(("Longtake", "bold"), f" {printable(self.url)}  {status.at:%Y-%m-%d %H:%M:%S} UTC")
        outage = [_outage_line(self.outage)] if self.outage else []
        needs = [*_needs(status)]
        if self.fitted:
            needs = _first(needs, height // NEEDS_SHARE, lines_of)
        above = Group(title, *outage, *needs, *_queues(status), *_rates(status), Text(), _totals(status))
        yield above
        heading = _heading("Workers")
        yield heading
        room = max(1, height - lines_of(above) - lines_of(heading)) if self.fitted else None
        yield from worker_lines(status.workers, options.max_width, room)


def _first(needs: Sequence[Text], most_lines: int, lines_of: Callable[[Text], int]) -> list[Text]:
    """The first of these within so many lines, at least one of them, and how many others there are."""
    shown, left = list[Text](), most_lines
    for need in needs:
        left -= lines_of(need)
        if shown and left < 0:
            return [*shown, Text(f"! and {len(needs) - len(shown)} more: `longtake status --once` has all", ALARM)]
        shown.append(need)
    return shown


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


def _queues(status: ServiceStatus) -> Iterator[RenderableType]:
    yield _heading("Queues")
    if not status.queues:
        yield Text("no work and no worker", QUIET)
        return
    classes, others = [each.value for each in Priority], ["new", "begun", "oldest", "work"]
    table = plain_table(["pool"], [*classes, *others, "active", "desired", "workers"])
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
    table = plain_table(["model", "lane"], ["chunks/s", "frames/s", "x real time"])
    for rate in status.rates:
        numbers = (f"{rate.chunks_per_second:.2f}", f"{rate.frames_per_second:.1f}", f"{rate.realtime_factor:.2f}")
        table.add_row(Text(printable(rate.model)), Text(rate.lane), *map(Text, numbers))
    yield table


def _totals(status: ServiceStatus) -> Text:
    jobs = ", ".join(f"{count} {name}" for name, count in status.jobs.items() if count)
    return Text(f"Jobs: {jobs or 'none'}\nWebhooks to be sent: {status.webhooks_pending}")


def _heading(text: str) -> Text:
    return Text(f"\n{text}", "bold")


def _or_dash(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _work(seconds: float) -> str:
    return duration(seconds) if seconds else "-"
