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
