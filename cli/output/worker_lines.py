"""The workers in the picture of `longtake status`, each on one line where there is little room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli.output.status_text import ALARM, QUIET, WARNING, duration, plain_table, printable, shortened_inside
from core.service.domain.service_status import PieceView, WorkerNow

SHORTEST_NAME = 12
"""Columns that a name has even on a narrow terminal."""
SHORTEST_REASON = 8
"""Columns that a reason has before a name gets more."""
_STYLES = {"busy": "green", "not ready": ALARM, "paused": WARNING, "pausing": WARNING}
_FIRST = ("not ready", "paused", "pausing", "busy", "starting", "draining")
"""States in the order in which workers are shown where there is no room for all; the others come last."""
_COLUMNS = ("name", "state", "job", "making", "for")


@dataclass(frozen=True)
class _Row:
    """One line. `quiet`: what is said instead of what it is making."""

    name: str
    state: str
    job: str = ""
    making: str = ""
    seconds: str = ""
    quiet: bool = False


def worker_lines(workers: Sequence[WorkerNow], width: int, room: int | None) -> Iterator[RenderableType]:
    """A table `width` columns wide, of `room` lines at most (None: as many as there are). Where these do not suffice,
    each worker has one line, those that need somebody come first, and the last line counts the others."""
    if not workers:
        yield Text("none is running", QUIET)
        return
    rows = [row for worker in workers for row in _rows(worker)]
    if room is None or len(rows) < room:  # one line is the heading
        yield _table(rows, width)
        return
    one_each = [_only_row(worker) for worker in workers]
    if len(one_each) < room:
        yield _table(one_each, width)
        return
    sorted_rows, shown = sorted(one_each, key=lambda row: _rank(row.state)), max(0, room - 2)
    if shown:
        yield _table(sorted_rows[:shown], width)
    yield _others(sorted_rows[shown:], are_more=shown > 0)


def _rank(state: str) -> int:
    return _FIRST.index(state) if state in _FIRST else len(_FIRST)


def _others(rows: Sequence[_Row], *, are_more: bool) -> Text:
    """For example "and 24 more: 20 ready, 4 starting"."""
    counts = Counter(row.state for row in rows)
    states = ", ".join(f"{counts[state]} {state}" for state in sorted(counts, key=_rank))
    return Text(f"and {len(rows)} more: {states}" if are_more else states, QUIET, no_wrap=True, overflow="ellipsis")


def _rows(worker: WorkerNow) -> list[_Row]:
    """A line for each piece that the worker makes, at least one."""
    name, state = printable(worker.name), _state(worker)
    if not worker.making:
        waits = worker.reason if worker.state != "not_ready" else None  # that one has a line at the top
        return [_Row(name, state, making=printable(waits or ""), quiet=True)]
    pieces = [_row_of_piece(piece) for piece in worker.making]
    return [_Row(name, state, *pieces[0]), *(_Row("", "", *piece) for piece in pieces[1:])]


def _only_row(worker: WorkerNow) -> _Row:
    """Its first line, which says how many pieces it makes beside that one."""
    first, *others = _rows(worker)
    if not others:
        return first
    return _Row(first.name, first.state, first.job, f"{first.making} +{len(others)}", first.seconds)


def _row_of_piece(piece: PieceView) -> tuple[str, str, str]:
    chunk = "" if piece.chunk is None else f" {piece.chunk}"
    step = "" if piece.step is None else f" ({piece.step}/{piece.steps})"
    return printable(piece.job_id), f"{piece.lane}{chunk}{step}", duration(piece.seconds)


def _state(worker: WorkerNow) -> str:
    if worker.paused and worker.state in {"ready", "busy"}:
        return "pausing" if worker.making else "paused"
    if worker.making and worker.state == "ready":  # a CPU worker, whose threads work beside one another
        return "busy"
    return worker.state.replace("_", " ")


def _table(rows: Sequence[_Row], width: int) -> Table:
    """Every row is one line: names are shortened, and what is too long of the rest is cut."""
    state, job, making, seconds = (
        max(map(len, (title, *cells)))
        for title, cells in zip(
            _COLUMNS[1:],
            (
                [row.state for row in rows],
                [row.job for row in rows],
                [row.making[:SHORTEST_REASON] if row.quiet else row.making for row in rows],
                [row.seconds for row in rows],
            ),
            strict=True,
        )
    )
    left = width - (state + job + making + seconds + len(_COLUMNS) - 1)
    name = min(max(SHORTEST_NAME, left), max(len(row.name) for row in rows))
    *texts, number = _COLUMNS
    table = plain_table(texts, [number])
    for column, taken in zip(table.columns, (name, state, job, making + max(0, left - name), seconds), strict=True):
        column.no_wrap, column.overflow, column.max_width = True, "ellipsis", taken
    for column, taken in zip(table.columns[:3], (name, state, job), strict=True):
        column.min_width = taken
    for row in rows:
        shown, style = Text(shortened_inside(row.name, name)), _STYLES.get(row.state, "")
        making_text = Text(row.making, QUIET if row.quiet else "")
        table.add_row(shown, Text(row.state, style), Text(row.job), making_text, Text(row.seconds))
    return table
