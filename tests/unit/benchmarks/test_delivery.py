"""Figures of the benchmark of deliveries: those of all jobs together, from their logs."""

from __future__ import annotations

from benchmarks.delivery import LOADS, figures_of
from core.metrics.delivery.measure import measure_job
from tests.unit.core.metrics.delivery.logs import chunk, ended, job, queued, started

LATE = [queued(), started(1.0), chunk(0, 5.0), chunk(1, 6.5), chunk(2, 11.0), ended(12.0)]
QUICK = [queued(), started(0.0), chunk(0, 1.0), chunk(1, 2.0), chunk(2, 3.0), ended(4.0)]


def test_figures_are_of_all_jobs_together() -> None:
    measured = [measure_job(job(), log) for log in (LATE, QUICK)]
    figures = {figure.name: figure for figure in figures_of("two", measured)}
    assert figures["two: time to first chunk"].value == 1.0
    assert figures["two: time to first chunk"].samples == [1.0, 5.0]
    assert figures["two: gap between chunks"].note == "p50 1.00, p95 4.50, p99 4.50, max 4.50"
    assert figures["two: stalled seconds of a viewer"].samples == [0.0, 2.0]
    assert (figures["two: deadlines met"].value, figures["two: deadlines met"].note) == (0.75, "3 of 4 chunks")
    assert figures["two: Jain's index"].value == round((6 / 11 + 2) ** 2 / (2 * ((6 / 11) ** 2 + 4)), 3)


def test_what_one_job_does_not_have_is_not_measured() -> None:
    figures = {figure.name: figure for figure in figures_of("one", [measure_job(job(), [*LATE[:3], ended(6.0)])])}
    assert figures["one: deadlines met"].value is None
    assert figures["one: gap between chunks"].value_text == "not measured"
    assert "one: Jain's index" not in figures


def test_every_load_has_a_name_of_its_own() -> None:
    assert len({load.title for load in LOADS}) == len(LOADS)
