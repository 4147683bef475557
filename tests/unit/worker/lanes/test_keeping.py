"""Which job a worker goes on with."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.service.domain.ports import Lease
from core.service.domain.schema import Lane
from tests.helpers.fake_world import JOB, MODEL, World
from tests.helpers.jobs import refine_spec
from worker.lanes.keeping import KeepingRule
from worker.lanes.lease_keeper import LeaseKeeper

BOTH = (Lane.GENERATE, Lane.REFINE)


def keeps(world: World, after_seconds: float = 0.0, index: int = 0, lanes: Sequence[Lane] = (Lane.GENERATE,)) -> bool:
    """Whether a worker of these lanes that may keep a job for 60 s keeps JOB, which it claims, so long after its claim,
    once chunk `index` is made."""
    lease = world.store.claim(JOB, Lane.GENERATE, "worker-1", 1000)
    assert lease is not None
    now = [100.0]
    keeper = LeaseKeeper(world.store, lease, 1000, lambda: now[0])
    now[0] += after_seconds
    rule = KeepingRule(world.services(), MODEL, 60, lanes)
    return rule.keeps(index, world.store.get(JOB), keeper)


@pytest.mark.parametrize(("after_seconds", "kept"), [(0, True), (59, True), (60, False)])
def test_a_job_keeps_a_worker_until_its_time_is_over(world: World, after_seconds: float, kept: bool) -> None:
    world.submit(num_frames=48)
    assert keeps(world, after_seconds) is kept


def test_a_refined_job_keeps_a_worker_that_refines_too_while_its_own_viewers_come_first(world: World) -> None:
    world.submit(num_frames=64, refine=refine_spec())
    assert keeps(world, lanes=BOTH)


def test_a_refined_job_whose_viewers_stall_takes_the_worker_from_one_that_is_not_urgent(world: World) -> None:
    """Two refined chunks of job_b, 4 s of video, are 2 s old; the first chunk of JOB is 8 s of video."""
    world.submit("job_b", num_frames=64, refine=refine_spec())
    maker, refiner = world.maker(), world.refiner()
    while not world.store.get("job_b").is_complete:
        maker.work()
    while len(world.refined("job_b")) < 2:
        refiner.work()
    world.submit(num_frames=64, fps=2)
    world.clock.advance(2)
    assert keeps(world, lanes=(Lane.GENERATE,))
    world.store.release(Lease(JOB, Lane.GENERATE, 1, "worker-1"), count_attempt=False)
    assert not keeps(world, lanes=BOTH)
