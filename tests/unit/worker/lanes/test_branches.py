"""Branches: the bytes of their source up to a chunk, and its own or others from there on."""

from __future__ import annotations

from typing import Any

import pytest

from core.service.domain.errors import InvalidField
from core.service.domain.manifest import chunk_key, job_prefix, state_key
from core.service.domain.schema import (
    BranchSource,
    JobChange,
    JobExtension,
    JobRecord,
    JobStatus,
    Lane,
    PromptChange,
    SeedChange,
)
from core.service.records.kept_objects import unneeded_keys
from core.service.records.manifest_writer import create_job
from core.service.records.orphans import find_orphans
from core.service.records.rebuild import RecordRebuilder
from core.service.testing.job_store import FakeJobStore
from tests.helpers.fake_world import JOB, HookedStorage, World
from tests.helpers.jobs import refine_spec
from worker.lanes.completion import wake
from worker.lanes.lane import Outcome

BRANCH = "job_branch"
BLUE = (PromptChange(start_frame=48, text="a blue square"),)


def branch(world: World, from_chunk: int = 3, name: str = BRANCH, **changes: Any) -> JobRecord:
    """As the API makes it."""
    spec = world.store.get(JOB).spec.model_copy(update=changes)
    source = BranchSource(job_id=JOB, from_chunk=from_chunk)
    record = JobRecord(id=name, status=JobStatus.QUEUED, spec=spec, created_at=world.clock.now(), branched_from=source)
    created = create_job(world.store, world.storage, record)
    wake(world.services(), created)
    return created


def made(num_frames: int = 96, **spec: Any) -> World:
    world = World()
    world.submit(num_frames=num_frames, **spec)
    world.work(world.maker())
    return world


def bytes_of(world: World, job_id: str = JOB) -> list[bytes]:
    return [world.storage.objects[chunk.key] for chunk in world.chunks(job_id)]


@pytest.mark.parametrize("from_chunk", [1, 3, 5])
def test_a_branch_without_changes_has_the_bytes_of_its_source(from_chunk: int) -> None:
    world = made()
    branch(world, from_chunk)
    world.work(world.maker())
    job = world.store.get(BRANCH)
    assert (job.status, job.version, job.frames_done) == (JobStatus.SUCCEEDED, 6 - from_chunk, 96)
    assert bytes_of(world, BRANCH) == bytes_of(world)
    videos = [world.storage.objects[world.store.get(one).video_key or ""] for one in (JOB, BRANCH)]
    assert videos[0] == videos[1]
    told = [event.data["chunk"]["index"] for event in world.store.memory.events[BRANCH] if "chunk" in event.data]
    assert told == list(range(from_chunk, 6))


def test_a_branch_is_longer_than_its_source() -> None:
    world = made(48)
    branch(world, 3, num_frames=96)
    world.work(world.maker())
    assert bytes_of(world, BRANCH) == bytes_of(made(96))


def test_two_branches_share_what_was_before_and_have_their_own_from_there_on() -> None:
    world = made()
    branch(world, 3, "job_prompt", prompt_changes=BLUE)
    branch(world, 3, "job_seed", seed_changes=(SeedChange(start_chunk=3, seed=500),))
    world.work(world.maker())
    source, prompt, seed = (bytes_of(world, one) for one in (JOB, "job_prompt", "job_seed"))
    assert source[:3] == prompt[:3] == seed[:3]
    assert len({*source[3:], *prompt[3:], *seed[3:]}) == 9
    assert prompt == bytes_of(made(prompt_changes=BLUE)), "as a schedule"


def test_a_branch_of_a_running_job() -> None:
    world = World()
    world.submit(num_frames=96)
    maker = world.maker()
    for _ in range(4):
        maker.work()
    branch(world, 3)
    world.work(maker)
    assert bytes_of(world, BRANCH) == bytes_of(world) == bytes_of(made())


@pytest.mark.parametrize("first", [JOB, BRANCH])
def test_deleting_either_never_hurts_the_other(first: str) -> None:
    world = made()
    whole = bytes_of(world)
    branch(world, 3)
    world.preparer().work()
    world.storage.delete_prefix(job_prefix(first))
    world.store.request_delete(first)
    world.store.purge(first)
    world.work(world.maker())
    other = BRANCH if first == JOB else JOB
    assert bytes_of(world, other) == whole


def test_a_branch_whose_source_is_gone_fails_and_says_so() -> None:
    world = made()
    branch(world, 3)
    world.storage.delete_prefix(job_prefix(JOB))
    world.store.request_delete(JOB)
    world.store.purge(JOB)
    world.work(world.maker())
    error = world.store.get(BRANCH).error
    assert error is not None
    assert (error.code, error.retryable) == ("source_gone", False)
    assert error.fix


def test_a_source_that_goes_while_it_is_copied_is_not_half_copied() -> None:
    world = made()

    def delete(key: str) -> None:
        if key == chunk_key(BRANCH, 1):
            world.storage.delete_prefix(job_prefix(JOB))
            world.store.request_delete(JOB)
            world.store.purge(JOB)

    objects = world.storage
    world.storage = HookedStorage(delete)
    world.storage.objects, world.storage.content_types = objects.objects, objects.content_types
    branch(world, 3)
    world.preparer().work()
    error = world.store.get(BRANCH).error
    assert error is not None
    assert error.code == "source_gone"
    assert world.chunks(BRANCH) == []


def test_a_state_that_the_source_does_not_keep_is_made_again() -> None:
    world = made(16 * 14)
    branch(world, 6)
    world.preparer().work()
    assert state_key(BRANCH, 5) not in world.storage.objects
    assert state_key(BRANCH, 0) in world.storage.objects
    world.work(world.maker())
    assert bytes_of(world, BRANCH) == bytes_of(world)


def test_a_damaged_state_is_made_again_with_the_seed_of_the_source() -> None:
    world = made()
    branch(world, 3, seed_changes=(SeedChange(start_chunk=3, seed=500),))
    world.preparer().work()
    for index in range(3):
        world.storage.objects[state_key(BRANCH, index)] = b"?"
    world.work(world.maker())
    damaged = bytes_of(world, BRANCH)
    again = made()
    branch(again, 3, seed_changes=(SeedChange(start_chunk=3, seed=500),))
    again.work(again.maker())
    assert damaged == bytes_of(again, BRANCH)
    assert damaged[:3] == bytes_of(world)[:3]


def test_a_branch_is_not_generated_before_its_copies_are_there() -> None:
    world = made()
    record = branch(world, 3)
    assert world.store.ready(Lane.GENERATE, record.spec.model, 1) == []
    assert world.store.ready(Lane.PREPARE, "", 1) == [BRANCH]
    assert unneeded_keys(record, world.store_lists(BRANCH), [chunk_key(BRANCH, 2), state_key(BRANCH, 0)]) == []
    assert world.preparer().work() is Outcome.COMMITTED
    assert world.store.ready(Lane.GENERATE, record.spec.model, 1) == [BRANCH]
    assert world.store.ready(Lane.PREPARE, "", 1) == []


def test_a_canceled_branch_without_copies_is_retried() -> None:
    world = made()
    branch(world, 3)
    world.store.request_cancel(BRANCH)
    wake(world.services(), world.store.retry(BRANCH))
    world.work(world.maker())
    assert bytes_of(world, BRANCH) == bytes_of(world)


def test_a_branch_of_a_refined_job_is_refined_anew() -> None:
    world = made(refine=refine_spec())
    branch(world, 3)
    world.work(world.maker())
    assert world.store.get(BRANCH).status is JobStatus.SUCCEEDED
    assert bytes_of(world, BRANCH) == bytes_of(world)
    objects = world.storage.objects
    assert [objects[one.key] for one in world.refined(BRANCH)] == [objects[one.key] for one in world.refined()]


def test_a_branch_comes_back_after_redis_has_lost_everything() -> None:
    world = made()
    branch(world, 3)
    world.work(world.maker())
    lost = FakeJobStore(world.clock)
    assert RecordRebuilder(world.storage)(lost, BRANCH)
    assert [(one.id, one.type, one.data) for one in lost.memory.events[BRANCH]] == [
        (one.id, one.type, one.data) for one in world.store.memory.events[BRANCH]
    ]
    assert not [*find_orphans(world.store, world.storage, world.uploads)]


def test_a_branch_that_awaits_its_copies_is_changed_from_the_frames_that_it_shares() -> None:
    world = made()
    branch(world, 3)
    with pytest.raises(InvalidField, match="48 frames"):
        world.store.steer(BRANCH, JobChange(num_frames=16))
    steered = world.store.steer(BRANCH, JobChange(prompt="a blue square"))
    assert steered.acts_from_frame == 48
    assert (steered.record.spec.prompt, steered.record.spec.prompt_changes) == (world.store.get(JOB).spec.prompt, BLUE)
    world.work(world.maker())
    assert bytes_of(world, BRANCH) == bytes_of(made(prompt_changes=BLUE))


@pytest.mark.parametrize("refined", [False, True])
def test_a_branch_that_is_complete_with_its_copies_ends(*, refined: bool) -> None:
    world = made(refine=refine_spec() if refined else None)
    branch(world, 3)
    world.store.steer(BRANCH, JobChange(num_frames=48))
    world.work(world.maker())
    job = world.store.get(BRANCH)
    assert (job.status, job.frames_done) == (JobStatus.SUCCEEDED, 48)
    assert bytes_of(world, BRANCH) == bytes_of(world)[:3]
    lost = FakeJobStore(world.clock)
    assert RecordRebuilder(world.storage)(lost, BRANCH)
    assert [(one.id, one.type) for one in lost.memory.events[BRANCH]] == [
        (one.id, one.type) for one in world.store.memory.events[BRANCH]
    ]


def test_a_canceled_branch_without_copies_is_extended_from_the_frames_that_it_shares() -> None:
    world = made()
    branch(world, 3)
    world.store.request_cancel(BRANCH)
    wake(world.services(), world.store.extend(BRANCH, JobExtension(num_frames=16)))
    world.work(world.maker())
    assert bytes_of(world, BRANCH) == bytes_of(world)[:4]


def test_a_chunk_that_the_source_has_lost_is_made_again_at_the_branch_s_end() -> None:
    world = made()
    whole = bytes_of(world)
    branch(world, 3)
    del world.storage.objects[chunk_key(JOB, 1)]
    assert world.preparer().work() is Outcome.COMMITTED
    world.work(world.maker())
    assert world.store.get(BRANCH).status is JobStatus.SUCCEEDED
    assert bytes_of(world, BRANCH) == whole
