"""How many workers a pool needs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.service.domain.capacity import LaneWork, PoolDemand, desired_workers, pool_demand

SECONDS = st.none() | st.floats(0, 1e6)


def demand(jobs: int, seconds: float | None, begun: int = 0) -> PoolDemand:
    return PoolDemand("sprites", jobs - begun, begun, seconds, 0)


@pytest.mark.parametrize(
    ("jobs", "seconds", "workers"),
    [
        (0, 0.0, 0),
        (1, 0.0, 1),
        (1, 5000.0, 1),
        (9, 100.0, 1),
        (9, 101.0, 2),
        (9, 350.0, 4),
        (3, 5000.0, 3),
        (9, None, 1),
    ],
)
def test_workers_do_the_work_in_time_and_one_makes_a_job(jobs: int, seconds: float | None, workers: int) -> None:
    assert desired_workers(demand(jobs, seconds), 100.0) == workers


def test_begun_jobs_need_workers_as_queued_ones_do() -> None:
    assert desired_workers(demand(4, 1000.0, begun=3), 100.0) == 4


@pytest.mark.parametrize(("pace", "workers"), [(0.1, 2), (0.9, 10), (4.0, 10)])
def test_streams_keep_the_workers_that_their_viewers_need(pace: float, workers: int) -> None:
    """Ten on ten workers. What has no end has one piece left: its seconds are next to nothing."""
    streams = LaneWork(10, 0, 10, 2.0 * pace, streams=10, pace=pace)
    assert desired_workers(pool_demand("sprites", [streams], 10), 120.0) == workers


def test_streams_take_their_workers_from_the_work_that_ends() -> None:
    both = LaneWork(20, 10, 610, 2.0, streams=10, pace=0.9)
    assert desired_workers(pool_demand("sprites", [both], 10), 120.0) == 20, "9 for streams, 10.2 for the rest"


def test_viewers_of_begun_jobs_need_workers_that_keep_pace_with_them() -> None:
    begun = LaneWork(0, 8, 16, 1.0, pace=0.5)
    refined = LaneWork(0, 8, 16, 1.0)
    assert desired_workers(pool_demand("sprites", [begun, refined], 0), 120.0) == 4


def test_bounds_hold_whatever_there_is_to_do() -> None:
    assert desired_workers(demand(0, 0.0), 100.0, minimum=2, maximum=4) == 2
    assert desired_workers(demand(9, 900.0), 100.0, minimum=2, maximum=4) == 4
    assert desired_workers(demand(9, 900.0), 100.0, maximum=0) == 0


@given(st.integers(0, 50), SECONDS, st.integers(0, 8), st.integers(0, 8), st.floats(0.1, 1e4))
def test_never_more_than_jobs_or_the_maximum_and_one_where_there_is_work(
    jobs: int, seconds: float | None, minimum: int, more: int, target: float
) -> None:
    maximum = minimum + more
    wanted = desired_workers(demand(jobs, seconds), target, minimum, maximum)
    assert minimum <= wanted <= max(minimum, min(jobs, maximum))
    assert wanted >= min(1, jobs, maximum)


def test_what_was_never_timed_adds_nothing_and_is_told_if_it_is_all() -> None:
    untimed, timed, idle = LaneWork(2, 0, 7, None), LaneWork(0, 1, 3, 2.0), LaneWork(0, 0, 0, None)
    assert pool_demand("sprites", [untimed, timed], 1) == PoolDemand("sprites", 2, 1, 6.0, 1)
    assert pool_demand("sprites", [untimed, idle], 0).queue_seconds is None
    assert pool_demand("sprites", [idle], 0).queue_seconds == 0
