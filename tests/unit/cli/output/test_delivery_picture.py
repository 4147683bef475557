"""The line of a delivery over time."""

from __future__ import annotations

import pytest

from cli.output.delivery_picture import BRIEF_STALL, LETTERS, axis, timeline
from cli.output.delivery_rows import Row, names_of, rows_of
from core.metrics.delivery.measure import measure_job
from core.service.domain.schema import JobStatus
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


def test_a_brief_stall_is_seen_wherever_it_is_but_no_letter_is_a_stall_that_is_mostly_none() -> None:
    for late in (0.001, 0.999, 1.5):
        row = row_of(4.0, 6.0 + late)
        for line in (timeline(row, 100.0, 10), timeline(row, 8.0 + late, 3)):
            assert BRIEF_STALL in line
            assert LETTERS["stall"] not in line


@pytest.mark.parametrize(("late", "expected"), [(0.49, "..--==i="), (0.5, "..--==!=="), (1.6, "..--==!!==")])
def test_a_letter_is_a_stall_if_stalls_fill_at_least_half_of_it(late: float, expected: str) -> None:
    assert timeline(row_of(4.0, 6.0 + late), 12.0, 12) == expected


def test_several_stalls_in_a_letter_count_together() -> None:
    row = row_of(4.0, 6.25, 8.5)
    assert row.verdict == "2 stalls, 0.5 s"
    assert "!" not in timeline(row, 12.0, 12)
    assert timeline(row_of(4.0, 7.5, 11.0), 24.0, 4) == ".!"


def test_a_wait_that_is_not_over_is_no_stall_yet() -> None:
    log = [queued(), started(2.0), chunk(0, 4.0), chunk(1, 5.0)]
    for status, events in ((JobStatus.RUNNING, log), (JobStatus.FAILED, [*log, ended(60.0, "failed")])):
        (row,) = rows_of([measure_job(job(status, 2), events)])
        assert row.verdict == "no stall so far"
    (row,) = rows_of([measure_job(job(JobStatus.RUNNING, 2), [*log[:3], chunk(1, 7.0)])])
    assert row.verdict == "1 stall, 1.0 s so far"


def test_the_first_row_of_a_job_has_its_id() -> None:
    again = [queued(100.0, 1), started(101.0), chunk(3, 103.0), chunk(4, 104.0), ended(110.0)]
    whole = measure_job(job(id="job_a", generation=1), [queued(), started(1.0), chunk(0, 2.0), ended(3.0), *again])
    trimmed = measure_job(job(id="job_b", generation=1), [chunk(0, 2.0), ended(3.0), *again])
    assert names_of(rows_of([whole, trimmed])) == ["1 job_a", "2 generation 1", "3 job_b generation 1"]


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
