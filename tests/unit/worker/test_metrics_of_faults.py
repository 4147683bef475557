"""What a worker process tells Prometheus of faults: each is counted once, and normal work is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.service.domain.manifest import manifest_key, refined_key, state_key
from core.service.domain.schema import JobStatus, Lane
from tests.helpers.fake_world import JOB, MODEL, HookedEngine, HookedStorage, World, usual_settings
from tests.helpers.jobs import refine_spec
from tests.helpers.metrics import REFINED, rise_of
from worker.lanes.lane import Outcome
from worker.lanes.lease_keeper import LeaseKeeper

RENEWED_OFTEN = usual_settings().model_copy(update={"lease_ttl_seconds": 0.03})


@pytest.fixture
def keepers(monkeypatch: pytest.MonkeyPatch) -> list[LeaseKeeper]:
    """The keepers of all leases that workers claim."""
    made = list[LeaseKeeper]()

    def keeper_of(*arguments: Any) -> LeaseKeeper:
        made.append(LeaseKeeper(*arguments))
        return made[-1]

    monkeypatch.setattr("worker.lanes.lane.LeaseKeeper", keeper_of)
    return made


def test_a_chunk_that_continues_the_work_of_another_process_is_a_resume(world: World) -> None:
    resumes = rise_of("longtake_resumes_total", model=MODEL)
    world.submit(num_frames=48)
    first = world.maker()
    first.work()
    first.work()
    assert resumes() == 0
    world.maker(services=world.services("worker-2")).work()
    assert resumes() == 1


def test_a_job_whose_states_are_all_lost_begins_anew_which_is_no_resume(world: World) -> None:
    resumes = rise_of("longtake_resumes_total", model=MODEL)
    world.submit(num_frames=48)
    world.maker().work()
    del world.storage.objects[state_key(JOB, 0)]
    assert world.maker(services=world.services("worker-2")).work() is Outcome.COMMITTED
    assert resumes() == 0


def test_failed_attempts_and_failed_jobs_are_counted(world: World) -> None:
    attempts, ended = (
        rise_of("longtake_failed_attempts_total", lane="generate"),
        rise_of("longtake_jobs_ended_total", lane="generate", status="failed"),
    )

    def fail(_step: int) -> None:
        raise RuntimeError("a kernel failed")

    world.submit()
    for _ in range(world.settings.max_attempts):
        world.rest()
        with pytest.raises(RuntimeError):
            world.maker(HookedEngine(fail)).work()
    assert (attempts(), ended()) == (3, 1)


def test_jobs_whose_media_cannot_be_used_are_counted_apart(world: World) -> None:
    of_lanes = {lane: rise_of("longtake_jobs_ended_total", lane=lane.value, status="failed") for lane in Lane}
    world.submit(image=world.upload(b"no picture"))
    assert world.preparer().work() is Outcome.FAILED
    assert {lane for lane, ended in of_lanes.items() if ended()} == {Lane.PREPARE}


def test_refined_chunks_that_are_made_again_are_not_counted_again(world: World) -> None:
    chunks, factors = rise_of("longtake_chunks_total", **REFINED), "longtake_chunk_realtime_factor_count"
    measured = rise_of(factors, **REFINED)
    world.submit(num_frames=48, refine=refine_spec())
    maker = world.maker()
    for _ in range(3):
        assert maker.work() is Outcome.COMMITTED
    while world.store.get(JOB).status is JobStatus.RUNNING:
        world.refiner().work()
    assert (chunks(), measured()) == (3, 3)
    world.storage.objects[refined_key(JOB, 1)] = b"?"
    world.work(maker)
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert world.storage.objects[refined_key(JOB, 1)] != b"?"
    assert (chunks(), measured()) == (3, 3)


def test_commits_that_come_too_late_are_counted(world: World) -> None:
    refused = rise_of("longtake_commits_refused_total", lane="generate")
    world.submit()

    def lose(step: int) -> None:
        if step == 3:
            world.clock.advance(31)
            world.store.claim(JOB, Lane.GENERATE, "worker-2", 30)

    assert world.maker(HookedEngine(lose)).work() is Outcome.DROPPED
    assert refused() == 1


def interrupted(world: World, keepers: list[LeaseKeeper], taken: Callable[[], object]) -> float:
    """Lost leases that are counted when a worker loses its lease in the midst of a chunk, by `taken`."""
    lost = rise_of("longtake_leases_lost_total", lane="generate")

    def lose(step: int) -> None:
        if step == 2:
            taken()
            assert keepers[-1].lost.wait(60)

    world.submit()
    assert world.maker(HookedEngine(lose)).work() is Outcome.INTERRUPTED
    return lost()


def test_a_lease_that_another_worker_takes_is_lost(keepers: list[LeaseKeeper]) -> None:
    world = World(settings=RENEWED_OFTEN)

    def take() -> None:
        while world.store.claim(JOB, Lane.GENERATE, "worker-2", 1000) is None:  # renewed meanwhile
            world.clock.advance(31)

    assert interrupted(world, keepers, take) == 1


def test_the_lease_of_a_job_that_is_deleted_is_not_lost(keepers: list[LeaseKeeper]) -> None:
    world = World(settings=RENEWED_OFTEN)
    assert interrupted(world, keepers, lambda: world.store.request_delete(JOB)) == 0


def test_a_lane_that_is_released_while_its_keeper_runs_on_is_not_lost(keepers: list[LeaseKeeper]) -> None:
    """After the commit, while the manifest is written."""
    lost, gave_up = rise_of("longtake_leases_lost_total", lane="generate"), list[bool]()

    def wait_for_renewal(key: str) -> None:
        if keepers and key == manifest_key(JOB):
            gave_up.append(keepers[-1].lost.wait(60))

    world = World(storage=HookedStorage(wait_for_renewal), settings=RENEWED_OFTEN)
    world.submit(num_frames=16)
    assert world.maker().work() is Outcome.COMMITTED
    assert gave_up == [True], "a renewal was refused"
    assert lost() == 0
