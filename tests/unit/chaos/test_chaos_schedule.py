"""A seed determines the schedule: every kind of fault in turn, no two of one group at once."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.chaos.faults.all_faults import ALL_FAULTS
from tests.chaos.faults.fault import LONG_RUN_SECONDS
from tests.chaos.schedule import CALM_SECONDS, LAST_JOB_SHARE, Plan, make_plan


def told(plan: Plan) -> list[object]:
    """All that a schedule decides."""
    faults = [(planned.at, planned.fault.name, planned.fault.seconds, planned.fault.pick) for planned in plan.faults]
    return [*plan.jobs, *faults]


def test_a_seed_repeats_its_schedule_and_another_one_does_not() -> None:
    assert told(make_plan(7, 120, 40)) == told(make_plan(7, 120, 40))
    assert told(make_plan(7, 120, 40)) != told(make_plan(8, 120, 40))


def test_ten_minutes_throw_every_kind_of_fault() -> None:
    thrown = {planned.fault.name for planned in make_plan(1, 600, 100).faults}
    assert thrown == {fault.name for fault in ALL_FAULTS}


def test_a_short_run_leaves_out_what_takes_long() -> None:
    for seed in range(20):
        for planned in make_plan(seed, 60, 10).faults:
            assert planned.fault.only_in_runs_of_seconds < LONG_RUN_SECONDS
            assert planned.fault.seconds <= 6 or planned.fault.seconds == planned.fault.shortest_seconds


@pytest.mark.parametrize("seed", range(5))
def test_faults_of_one_group_have_calm_between_them_and_all_end_in_time(seed: int) -> None:
    plan = make_plan(seed, 600, 100)
    assert max(planned.lifted_at for planned in plan.faults) < plan.seconds
    for group in {planned.fault.group for planned in plan.faults}:
        own = sorted((p for p in plan.faults if p.fault.group == group), key=lambda planned: planned.at)
        assert all(later.at - before.lifted_at >= CALM_SECONDS[0] - 1e-6 for before, later in pairwise(own))


def test_some_faults_overlap() -> None:
    plan = make_plan(1, 600, 100)
    in_order = sorted(plan.faults, key=lambda planned: planned.at)
    assert any(later.at < before.lifted_at for before, later in pairwise(in_order))


def test_jobs_come_steadily_and_are_of_every_kind_and_fate() -> None:
    plan = make_plan(3, 600, 200)
    assert len(plan.jobs) == 200
    assert len({job.kind for job in plan.jobs}) == 5
    assert len({job.fate for job in plan.jobs}) == 5
    times = [job.at for job in plan.jobs]
    assert max(times) <= LAST_JOB_SHARE * plan.seconds
    assert max(later - before for before, later in pairwise(times)) < 4 * plan.seconds / len(times)
