"""Which job a worker goes on with."""

from __future__ import annotations

import pytest

from core.service.domain.errors import StoreDamaged
from core.service.domain.schema import JobRecord, Lane
from core.service.testing.job_store import FakeJobStore
from tests.helpers.fake_world import JOB, MODEL, World
from worker.lanes.keeping import KeepingRule
from worker.lanes.lease_keeper import LeaseKeeper


def keeps(world: World, after_seconds: float = 0.0) -> bool:
    """Whether a worker that may keep a job for 60 s keeps the claimed JOB, so long after its claim."""
    lease = world.store.claim(JOB, Lane.GENERATE, "worker-1", 1000)
    assert lease is not None
    now = [100.0]
    keeper = LeaseKeeper(world.store, lease, 1000, lambda: now[0])
    now[0] += after_seconds
    rule = KeepingRule(world.services(), MODEL, 60, refines_too=False)
    return rule.keeps(0, world.store.get(JOB), keeper)


@pytest.mark.parametrize(("after_seconds", "kept"), [(0, True), (59, True), (60, False)])
def test_a_job_keeps_a_worker_until_its_time_is_over(world: World, after_seconds: float, kept: bool) -> None:
    world.submit(num_frames=48)
    assert keeps(world, after_seconds) is kept


def test_a_waiting_job_that_cannot_be_read_is_skipped(world: World) -> None:
    class Damaged(FakeJobStore):
        def get(self, job_id: str) -> JobRecord:
            if job_id == "job_broken":
                raise StoreDamaged("it cannot be read")
            return super().get(job_id)

    world.store = Damaged(world.clock)
    world.submit(num_frames=48)
    world.clock.advance(1)
    world.submit("job_broken", num_frames=48)
    assert keeps(world)
