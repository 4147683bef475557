"""Jobs that are extended and retried: every byte as in a job that was made at once, also after worker deaths."""

from __future__ import annotations

from typing import Any

import pytest

from core.service.domain.manifest import chunk_key, frames_key, state_key, video_key
from core.service.domain.schema import JobError, JobExtension, JobRecord, JobStatus, Lane
from core.service.records.kept_objects import unneeded_keys
from core.service.records.rebuild import RecordRebuilder
from core.service.testing.job_store import FakeJobStore
from tests.helpers.fake_world import JOB, MODEL, HookedEngine, World
from tests.helpers.jobs import refine_spec
from worker.lanes.completion import clean_up, wake
from worker.lanes.lane import Outcome

BLUE = "a blue square"


def at_once(num_frames: int, **spec: Any) -> World:
    world = World()
    world.submit(num_frames=num_frames, **spec)
    world.work(world.maker())
    return world


def bytes_of(world: World) -> list[bytes]:
    return [world.storage.objects[chunk.key] for chunk in world.chunks()]


def refined_bytes(world: World) -> list[bytes]:
    return [world.storage.objects[chunk.key] for chunk in world.refined()]


def video(world: World) -> bytes:
    return world.storage.objects[world.store.get(JOB).video_key or ""]


def extend(world: World, num_frames: int, prompt: str | None = None) -> JobRecord:
    record = world.store.extend(JOB, JobExtension(num_frames=num_frames, prompt=prompt))
    wake(world.services(), record)
    return record


def extended(first: int, *added: int, **spec: Any) -> World:
    world = at_once(first, **spec)
    for num_frames in added:
        extend(world, num_frames)
        world.work(world.maker())
    return world


@pytest.mark.parametrize("lengths", [(48, 48), (40, 56), (16, 80), (17, 1, 78), (33, 63), (95, 1)])
def test_an_extended_video_has_the_bytes_of_one_made_at_once(lengths: tuple[int, ...]) -> None:
    world, whole = extended(*lengths), at_once(96)
    job = world.store.get(JOB)
    assert (job.status, job.frames_done, job.generation) == (JobStatus.SUCCEEDED, 96, len(lengths) - 1)
    assert bytes_of(world) == bytes_of(whole)
    assert video(world) == video(whole)
    assert job.video_key == video_key(JOB, job.generation)
    assert video_key(JOB) not in world.storage.objects, "the old video goes once the new one is there"


def test_the_video_that_exists_is_served_until_the_new_one_is_made() -> None:
    world = at_once(40)
    old, last = video(world), world.chunks()[2]
    extend(world, 56)
    maker = world.maker()
    assert (video(world), world.chunks()[2]) == (old, last)
    assert maker.work() is Outcome.COMMITTED
    assert (world.chunks()[2].num_frames, world.chunks()[2].key) == (16, chunk_key(JOB, 2, 1))
    assert video(world) == old
    assert last.key in world.storage.objects, "players may still read it"
    world.work(maker)
    assert last.key not in world.storage.objects


def test_a_prompt_of_an_extension_gives_the_bytes_of_a_schedule() -> None:
    world = at_once(40)
    changes = extend(world, 56, BLUE).spec.prompt_changes
    world.work(world.maker())
    assert bytes_of(world) == bytes_of(at_once(96, prompt_changes=changes))
    assert bytes_of(world) != bytes_of(at_once(96))


@pytest.mark.parametrize("lost", [state_key(JOB, 1), state_key(JOB, 0)])
def test_a_lost_state_is_made_again_before_the_short_chunk_is_completed(lost: str) -> None:
    world = at_once(40)
    del world.storage.objects[lost]
    extend(world, 56)
    world.work(world.maker())
    assert bytes_of(world) == bytes_of(at_once(96))


def test_a_worker_that_dies_while_it_completes_the_short_chunk_costs_no_byte() -> None:
    world = at_once(40)
    extend(world, 56)

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    services = world.services("dying")
    original = world.store.commit_chunk
    world.store.commit_chunk = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        world.maker(services=services).work()
    world.store.commit_chunk = original  # type: ignore[method-assign]
    assert chunk_key(JOB, 2, 1) in world.storage.objects, "stored, not committed"
    world.store.release_of_worker("dying")
    world.queue.wake(Lane.GENERATE, MODEL, JOB)
    world.work(world.maker())
    assert bytes_of(world) == bytes_of(at_once(96))


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("count", [0, 2])
def test_a_retried_job_ends_with_the_bytes_of_an_undisturbed_one(fails: bool, count: int) -> None:
    world = World()
    world.submit(num_frames=72)
    for _ in range(count):
        world.maker().work()
    if fails:
        record = world.store.fail(JOB, JobError(code="boom", message="it broke", retryable=True))
        clean_up(world.services(), record)
    else:
        world.cancel()
    world.work(world.maker())
    assert world.store.get(JOB).status is (JobStatus.FAILED if fails else JobStatus.CANCELED)
    wake(world.services(), world.store.retry(JOB))
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert bytes_of(world) == bytes_of(at_once(72))
    assert video(world) == video(at_once(72))


def test_a_worker_of_the_generation_before_stores_under_other_names_and_commits_nothing() -> None:
    world = World()
    world.submit(num_frames=40)
    for _ in range(2):
        world.maker().work()

    def go_on(step: int) -> None:
        if step == 0:
            world.store.fail(JOB, JobError(code="boom", message="it broke", retryable=True))
            world.store.retry(JOB)

    assert world.maker(HookedEngine(go_on), world.services("late")).work() is Outcome.DROPPED
    assert world.chunks()[2:] == []
    assert chunk_key(JOB, 2) in world.storage.objects
    world.queue.wake(Lane.GENERATE, MODEL, JOB)
    world.work(world.maker())
    assert bytes_of(world) == bytes_of(at_once(40))
    assert world.chunks()[2].key == chunk_key(JOB, 2, 1)
    assert chunk_key(JOB, 2) not in world.storage.objects


def test_a_clean_up_of_the_generation_before_takes_nothing_away() -> None:
    world = at_once(48)
    ended = world.store.get(JOB)
    extend(world, 48)
    world.maker().work()
    stored = {*world.storage.objects}
    clean_up(world.services(), ended)
    assert {*world.storage.objects} == stored
    assert not unneeded_keys(ended, world.store_lists(), [chunk_key(JOB, 4, 1), state_key(JOB, 3, 1)])


@pytest.mark.parametrize("lengths", [(48, 48), (40, 56), (16, 80), (25, 71), (24, 72), (33, 63)])
def test_refined_chunks_after_those_that_were_whole_have_the_bytes_of_one_job(lengths: tuple[int, int]) -> None:
    world, whole = at_once(lengths[0], refine=refine_spec()), at_once(96, refine=refine_spec())
    before = refined_bytes(world)
    extend(world, lengths[1])
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    published = lengths[0] // 16
    assert refined_bytes(world)[:published] == before[:published], "what is published whole is never replaced"
    assert refined_bytes(world)[published:] == refined_bytes(whole)[published:]
    assert bytes_of(world) == bytes_of(whole)
    assert not world.store.get(JOB).repairs
    again = [event for event in world.store.memory.events[JOB] if event.type == "chunk.refined"]
    assert len(again) == 6 + (1 if lengths[0] % 16 else 0)


def test_a_damaged_refined_chunk_of_an_extended_job_is_made_again_and_the_others_stay() -> None:
    world = at_once(48, refine=refine_spec())
    extend(world, 48)
    maker = world.maker()
    for _ in range(3):
        maker.work()
    before = refined_bytes(world)
    damaged = world.refined()[1]
    whole = world.storage.objects[damaged.key]
    world.storage.objects[damaged.key] = b"?"
    world.work(maker)
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert refined_bytes(world)[:3] == before
    assert world.storage.objects[world.refined()[1].key] == whole


def test_a_retried_refined_job_goes_on_where_it_was() -> None:
    world = World()
    world.submit(num_frames=96, refine=refine_spec())
    maker, refiner = world.maker(), world.refiner()
    for _ in range(4):
        maker.work()
    for _ in range(2):
        refiner.work()
    clean_up(world.services(), world.store.fail(JOB, JobError(code="boom", message="it broke", retryable=True)))
    world.queue.messages.clear()
    wake(world.services(), world.store.retry(JOB))
    world.work(world.maker(), refiner=world.refiner())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    whole = at_once(96, refine=refine_spec())
    assert (bytes_of(world), refined_bytes(world)) == (bytes_of(whole), refined_bytes(whole))


@pytest.mark.parametrize("fails", [True, False])
def test_a_retried_job_is_refined_from_the_frames_that_were_made(fails: bool) -> None:
    world = World()
    world.submit(num_frames=96, refine=refine_spec())
    maker, refiner = world.maker(), world.refiner()
    for _ in range(6):
        maker.work()
    refiner.work()
    if fails:
        clean_up(world.services(), world.store.fail(JOB, JobError(code="boom", message="it broke", retryable=True)))
    else:
        world.cancel()
        world.work(world.maker(), refiner=world.refiner())
    world.queue.messages.clear()
    assert {frames_key(JOB, index) for index in range(1, 6)} <= {*world.storage.objects}
    wake(world.services(), world.store.retry(JOB))
    engine = HookedEngine(lambda step: pytest.fail(f"generated again, step {step}"))
    world.work(world.maker(engine), refiner=world.refiner())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert refined_bytes(world) == refined_bytes(at_once(96, refine=refine_spec()))


def test_a_job_that_went_on_comes_back_after_redis_has_lost_everything() -> None:
    world = extended(40, 56)
    log = world.store.memory.events[JOB]
    lost = FakeJobStore(world.clock)
    assert RecordRebuilder(world.storage)(lost, JOB)
    assert [(event.id, event.type, event.data) for event in lost.memory.events[JOB]] == [
        (event.id, event.type, event.data) for event in log
    ]
