"""The line of a delivery over time."""

from __future__ import annotations

from cli.output.delivery_picture import LETTERS, axis, timeline
from cli.output.delivery_rows import Row, rows_of
from core.metrics.delivery.measure import measure_job
from tests.unit.core.metrics.delivery.logs import chunk, ended, job, queued, started


def row_of(*times: float, buffer_seconds: float = 0.0) -> Row:
    """Started after 2 s, with chunks of 2 s at these times."""
    chunks = [chunk(index, at) for index, at in enumerate(times)]
    measured = measure_job(job(), [queued(), started(2.0), *chunks, ended(99.0)], (), buffer_seconds)
    return rows_of([measured])[0]


def test_each_letter_is_what_the_viewer_had_then() -> None:
    row = row_of(4.0, 5.0, 10.0)
    assert timeline(row, 12.0, 12) == "..--====!!=="
    assert timeline(row, 24.0, 12) == ".-==!="
    row = row_of(4.0, 5.0, 10.0, buffer_seconds=1.0)
    assert timeline(row, 12.0, 12) == "..--b====!=="


def test_a_short_stall_is_seen_wherever_it_is() -> None:
    for late in (0.001, 0.999, 1.5):
        row = row_of(4.0, 6.0 + late)
        assert LETTERS["stall"] in timeline(row, 100.0, 10)
        assert LETTERS["stall"] in timeline(row, 8.0 + late, 3)


def test_a_line_of_nothing_is_empty() -> None:
    row = row_of()
    assert timeline(row, 10.0, 10) == ""
    assert row.verdict == "no chunk"


def test_stalls_are_counted_in_words() -> None:
    assert [row_of(*times).verdict for times in ((4.0, 5.0), (4.0, 7.0), (4.0, 7.0, 11.0))] == [
        "no stall",
        "1 stall, 1.0 s",
        "2 stalls, 3.0 s",
    ]


def test_the_axis_is_as_long_as_the_lines() -> None:
    assert axis(42.3, 20) == "0               42 s"
    assert axis(4.23, 20) == "0              4.2 s"
