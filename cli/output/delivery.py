"""What `longtake delivery` prints: a line over time for each delivery, then its figures. For 80 columns and more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.output.delivery_picture import BRIEF_STALL, LEGEND, LETTERS, axis, timeline
from cli.output.delivery_rows import Row, names_of, rows_of, seconds_of_all
from cli.output.status_text import ALARM, QUIET, plain_table
from core.metrics.delivery.measure import GenerationDelivery, JobDelivery, VariantDelivery
from core.metrics.delivery.several import SeveralDeliveries, measure_several
from core.metrics.delivery.spread import Spread
from core.service.domain.schema import Variant

LEAST_WIDTH = 20
"""Of the lines over time, on a narrow terminal."""
LABEL_WIDTH = 20
"""Of the names of figures."""
FIGURES = ("queue", "first chunk", "gap p50", "gap p95", "gap max", "in time", "stalls", "stalled", "buffer", "speed")


def show(measured: Sequence[JobDelivery], console: Console | None = None) -> None:
    """Print at least one job: of one all its figures, of several a row of each and how they are spread."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    rows = rows_of(measured)
    for line in _pictures(rows, console.width):
        console.print(line, no_wrap=True, overflow="crop")
    if len(measured) == 1:
        for row in rows:
            console.print(_heading(row))
            console.print("\n".join(_facts(row)), soft_wrap=True)
    else:
        console.print(_table(rows))
        for variant in ("preview", "refined"):
            several = measure_several(measured, variant)
            if several.num_generations > 1:
                console.print(_spreads(several, variant))
                console.print(_together(several), soft_wrap=True)
    for job in measured:
        for note in job.notes:
            console.print(Text(f"{job.job_id}: {note}", QUIET), soft_wrap=True)


def _pictures(rows: Sequence[Row], width: int) -> Iterator[Text]:
    """A line over time for each row, all in the same scale."""
    seconds, names = seconds_of_all(rows), names_of(rows)
    name_width, verdict_width = (max(map(len, texts), default=0) for texts in (names, [row.verdict for row in rows]))
    line_width = max(LEAST_WIDTH, width - name_width - verdict_width - 4)
    if seconds:
        yield Text(f"{'':{name_width}}  {axis(seconds, line_width)}", QUIET)
    for row, name in zip(rows, names, strict=True):
        line = Text(f"{timeline(row, seconds, line_width) if seconds else '':{line_width}}")
        line.highlight_regex(rf"{LETTERS['playback']}+", "green")
        line.highlight_regex(rf"[{LETTERS['stall']}{BRIEF_STALL}]+", ALARM)
        yield Text.assemble(f"{name:{name_width}}  ", line, f"  {row.verdict}")
    if seconds:
        yield Text(f"{LEGEND}\n", QUIET)


def _heading(row: Row) -> Text:
    state = row.generation.outcome or f"{row.job.status}, measured so far"
    return Text(f"{row.which or 'preview'}: {state}", "bold")


def _facts(row: Row) -> Iterator[str]:
    """All figures of one delivery that there are, a line each."""
    generation, made = row.generation, row.made
    if generation.queue_seconds is not None:
        yield _fact("queue", _seconds(generation.queue_seconds))
    if made is not None:
        yield _fact("first chunk", f"{_seconds(made.first_chunk_seconds)} after it was queued{_after_start(made)}")
        yield _fact("gaps between chunks", _gaps(made.gaps))
        length = f"{_seconds(made.video_seconds)} of video in {made.num_chunks} chunks"
        yield _fact("real-time factor", f"{_number(made.realtime_factor)} ({length})")
        yield _fact("deadlines met", f"{made.deadlines_met} of {made.num_deadlines}")
        yield _fact("stalls", _stalls(generation, made))
        yield _fact("smallest buffer", f"{_seconds(made.smallest_buffer_seconds)} of waiting before, and no stall")
    if generation.whole_video_seconds is not None:
        yield _fact("whole video", f"{_seconds(generation.whole_video_seconds)} after it was queued")


def _fact(name: str, text: str) -> str:
    return f"{name:<{LABEL_WIDTH}} {text}"


def _after_start(made: VariantDelivery) -> str:
    seconds = made.first_chunk_after_start_seconds
    return "" if seconds is None else f", {_seconds(seconds)} after its start"


def _gaps(gaps: Spread | None) -> str:
    if gaps is None:
        return "-"
    figures = {"p50": gaps.p50, "p95": gaps.p95, "p99": gaps.p99, "max": gaps.max}
    return ", ".join(f"{name} {_seconds(value)}" for name, value in figures.items())


def _stalls(generation: GenerationDelivery, made: VariantDelivery) -> str:
    so_far = "" if generation.has_succeeded else " so far"
    viewing = made.viewing
    if not viewing.stalls:
        return f"none{so_far}"
    together, longest = _seconds(viewing.stalled_seconds), _seconds(viewing.longest_seconds)
    return f"{len(viewing.stalls)}, {together} together, the longest {longest}{so_far}"


def _table(rows: Sequence[Row]) -> Table:
    """Seconds, but for the numbers of stalls, the shares of deadlines met and the real-time factors (`speed`)."""
    table = plain_table([""], [*FIGURES, "whole video"])
    for number, row in enumerate(rows, 1):
        cells = ["-"] * (len(FIGURES) - 1) if row.made is None else _cells(row.made)
        numbers = [_number(row.generation.queue_seconds), *cells, _number(row.generation.whole_video_seconds)]
        table.add_row(str(number), *numbers)
    return table


def _cells(made: VariantDelivery) -> list[str]:
    viewing, share = made.viewing, made.deadlines_met_share
    gaps = (None,) * 3 if made.gaps is None else (made.gaps.p50, made.gaps.p95, made.gaps.max)
    return [
        _number(made.first_chunk_seconds),
        *map(_number, gaps),
        "-" if share is None else f"{share:.0%}",
        str(len(viewing.stalls)),
        _number(viewing.stalled_seconds),
        _number(made.smallest_buffer_seconds),
        _number(made.realtime_factor),
    ]


def _spreads(several: SeveralDeliveries, variant: Variant) -> Table:
    what = "refined deliveries" if variant == "refined" else "deliveries"
    table = plain_table([f"\n{several.num_generations} {what}, seconds"], ["\np50", "\np95", "\np99", "\nmax"])
    spreads = {
        "queue": several.queue_seconds,
        "first chunk": several.first_chunk_seconds,
        "gap": several.gap_seconds,
        "stalls (number)": several.stalls,
        "stalled": several.stalled_seconds,
        "smallest buffer": several.smallest_buffer_seconds,
        "real-time factor": several.realtime_factor,
        "whole video": several.whole_video_seconds,
    }
    for name, spread in spreads.items():
        values = (None,) * 4 if spread is None else (spread.p50, spread.p95, spread.p99, spread.max)
        table.add_row(name, *map(_number, values))
    return table


def _together(several: SeveralDeliveries) -> str:
    fairness = "" if several.fairness is None else f"; fairness (Jain, 1 is alike) {several.fairness:.2f}"
    in_time = f"{several.deadlines_met} of {several.num_deadlines} deadlines met"
    so_far = " so far" if several.so_far else ""
    without = f"; {several.without_chunk} without a chunk in none of these figures" if several.without_chunk else ""
    stalls = f"{several.without_stall} of {several.num_generations} without a stall{so_far}"
    return f"{in_time}; {stalls}{fairness}{without}\n"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _number(value: float | None) -> str:
    """At most five characters up to a day."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
