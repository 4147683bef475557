"""Damaged states and chunks are made again as they were, or the job says why it cannot go on."""

from __future__ import annotations

import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, InputMedia, OnStep
from core.service.domain.errors import StaleLease
from core.service.domain.manifest import chunk_key, state_key
from core.service.domain.schema import JobSpec, Lane
from core.service.testing.engines import FakeEngine
from tests.helpers.fake_world import JOB, HookedEngine, World
from worker.lanes.lane import Outcome

DAMAGES = ["flipped", "cut", "empty", "missing", "an older one"]


def damage(world: World, key: str, how: str, older: str) -> None:
    data = world.storage.objects[key]
    damaged = {
        "flipped": bytes([data[0] ^ 255]) + data[1:],
        "cut": data[: len(data) // 2],
        "empty": b"",
        "an older one": world.storage.objects[older],
    }
    world.storage.objects.pop(key)
    if how != "missing":
        world.storage.objects[key] = damaged[how]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_state_is_made_again_from_the_newest_good_one(world: World, how: str) -> None:
    world.submit(num_frames=64)
    maker = world.maker()
    for _ in range(3):
        maker.work()
    good = world.storage.objects[state_key(JOB, 2)]
    damage(world, state_key(JOB, 1), how, state_key(JOB, 0))
    damage(world, state_key(JOB, 2), how, state_key(JOB, 0))
    steps: list[int] = []
    other = world.maker(HookedEngine(steps.append), world.services("worker-2"))
    assert other.work() is Outcome.COMMITTED
    assert (len(steps), world.storage.objects[state_key(JOB, 2)]) == (3 * 4, good)
    calm = World()
    calm.submit(num_frames=64)
    calm.work(calm.maker())
    assert world.chunks()[3].sha256 == calm.chunks()[3].sha256


def test_with_all_states_lost_a_job_restarts_from_its_request(world: World) -> None:
    world.submit(num_frames=64)
    world.maker().work()
    world.maker().work()
    for index in (0, 1):
        del world.storage.objects[state_key(JOB, index)]
    assert world.maker(services=world.services("worker-2")).work() is Outcome.COMMITTED


class Changed(FakeEngine):
    """An engine whose frames are darker than those that were made before."""

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        made = super().next_chunk(spec, state, on_step, inputs)
        return EngineChunk(made.frames // 2, made.state, made.timings)


def test_a_chunk_that_cannot_be_made_again_as_it_was_fails_the_job(world: World) -> None:
    world.submit(num_frames=32)
    world.maker().work()
    world.maker().work()
    lease = world.store.claim(JOB, Lane.FINALIZE, "cpu-1", 30)
    assert lease
    world.store.repair(lease, (0,))
    assert world.maker(Changed()).work() is Outcome.FAILED
    error = world.store.get(JOB).error
    assert error is not None
    assert error.code == "chunk_not_repeatable"


@pytest.mark.parametrize("same", [False, True])
def test_a_chunk_that_is_made_again_for_its_state_stays_as_it_was_published(world: World, *, same: bool) -> None:
    class Built(Changed):
        @property
        def fingerprint(self) -> str:
            return super().fingerprint if same else "another build"

    world.submit(num_frames=32)
    world.maker().work()
    published = world.storage.objects[chunk_key(JOB, 0)]
    del world.storage.objects[state_key(JOB, 0)]
    outcome = world.maker(Built(), world.services("worker-2")).work()
    assert outcome is (Outcome.FAILED if same else Outcome.COMMITTED)
    assert world.storage.objects[chunk_key(JOB, 0)] == published
    assert (state_key(JOB, 0) in world.storage.objects) is not same


def test_a_repair_that_comes_after_a_cancel_changes_nothing(world: World) -> None:
    world.submit(num_frames=32)
    world.maker().work()
    world.maker().work()
    finalizing = world.store.claim(JOB, Lane.FINALIZE, "cpu-1", 30)
    assert finalizing
    world.store.repair(finalizing, (0,))
    repairing = world.store.claim(JOB, Lane.GENERATE, "worker-1", 30)
    assert repairing
    world.store.request_cancel(JOB)
    ended = world.store.begin_finalizing(JOB)
    assert ended.repairs == ()
    with pytest.raises(StaleLease):
        world.store.commit_repair(repairing, world.chunks()[0])
