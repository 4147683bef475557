"""A job that changes while its next chunk is made: cancels, deletions, drains, PATCH and damage act as without it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from core.service.domain.priority import Priority
from core.service.domain.schema import JobChange, JobRecord, JobStatus, Lane, PreparedMedia, PromptChange
from core.service.domain.schema.older import totals_of
from core.service.redis import queue
from tests.helpers.background import AtOnce
from tests.helpers.fake_world import JOB, World
from tests.helpers.generating import EVERY_ORDER, NotingEngine, generate_lane, objects_of
from tests.helpers.jobs import DAY_ONE, chunk_of, queued_job
from worker.lanes.ahead import InBackground, follows
from worker.lanes.lane import Outcome


def sums_of(**changes: Any) -> dict[str, str]:
    """Checksums of these objects."""
    return {key: hashlib.sha256(data).hexdigest() for key, data in objects_of(**changes).items()}


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_a_cancel_while_the_next_chunk_is_made_stops_it_and_finalises_what_exists(
    world: World, ahead: InBackground
) -> None:
    world.submit(num_frames=160)
    engine = NotingEngine(lambda index, step: (index, step) == (3, 1) and world.store.request_cancel(JOB))
    world.work(world.maker(engine, ahead=ahead))
    record = world.store.get(JOB)
    assert record.status is JobStatus.CANCELED
    assert record.chunks.count in {2, 3}
    assert engine.begun == [0, 1, 2, 3]
    assert record.video_key in world.storage.objects


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_a_job_deleted_while_the_next_chunk_is_made_leaves_nothing_that_the_janitor_does_not_know(
    world: World, ahead: InBackground
) -> None:
    world.submit(num_frames=160)
    engine = NotingEngine(lambda index, step: (index, step) == (2, 1) and world.store.request_delete(JOB))
    assert world.maker(engine, ahead=ahead).work() is Outcome.INTERRUPTED
    assert not world.store.lease_alive(JOB, Lane.GENERATE)
    assert queue.TASK_JANITOR in world.tasks()
    assert engine.begun == [0, 1, 2]
    assert not world.storage.objects


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_a_drain_while_the_next_chunk_is_made_waits_for_the_commit_and_gives_the_job_back(
    world: World, ahead: InBackground
) -> None:
    world.submit(num_frames=160)
    services = world.services()
    engine = NotingEngine(lambda index, step: services.drain.set() if (index, step) == (2, 1) else None)
    world.maker(engine, services, ahead).work()
    assert (len(world.chunks()), generate_lane(world)) == (2, (0, 0, False))
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_a_new_prompt_acts_from_the_chunk_that_the_answer_named(world: World, ahead: InBackground) -> None:
    world.submit(num_frames=96)
    acted = list[int | None]()

    def steer(index: int, step: int) -> None:
        if (index, step) == (2, 2) and not acted:
            acted.append(world.store.steer(JOB, JobChange(prompt="a blue circle")).acts_from_frame)

    world.work(world.maker(NotingEngine(steer), ahead=ahead))
    (from_frame,) = acted
    steered, plain = world.chunks(), World()
    plain.submit(num_frames=96)
    plain.work(plain.maker())
    same = [chunk.sha256 == other.sha256 for chunk, other in zip(steered, plain.chunks(), strict=True)]
    assert from_frame is not None
    assert same == [index < from_frame // 16 for index in range(6)]


@pytest.mark.parametrize("ahead", EVERY_ORDER)
@pytest.mark.parametrize(
    "change",
    [
        JobChange(metadata={"seen": "yes"}),
        JobChange(num_frames=80),
        JobChange(num_frames=None),
        JobChange(prompt="a blue circle", from_frame=64),
    ],
    ids=["metadata", "length", "no end", "later prompt"],
)
def test_a_change_that_the_next_chunk_does_not_depend_on_costs_no_work(
    world: World, ahead: InBackground, change: JobChange
) -> None:
    world.submit(num_frames=96)
    changed = list[JobRecord]()

    def tell(index: int, step: int) -> None:
        if (index, step) == (2, 2) and not changed:
            changed.append(world.store.steer(JOB, change, 128).record)

    engine = NotingEngine(tell)
    world.work(world.maker(engine, ahead=ahead))
    record = world.store.get(JOB)
    assert (record.status, record.spec.metadata) == (JobStatus.SUCCEEDED, change.metadata or {})
    assert engine.begun == [*range(record.chunks.count)]
    asked = {"prompt_changes": record.spec.prompt_changes, "num_frames": record.spec.length}
    assert {chunk.key: chunk.sha256 for chunk in world.chunks()}.items() <= sums_of(**asked).items()


@pytest.mark.parametrize("ahead", EVERY_ORDER)
@pytest.mark.parametrize("num_frames", [48, 49, 64])
def test_a_new_end_is_kept_to_although_the_next_chunk_was_begun(
    world: World, ahead: InBackground, num_frames: int
) -> None:
    world.submit(num_frames=None, endless_limit=800)
    changed = list[JobRecord]()

    def shorten(index: int, step: int) -> None:
        if (index, step) == (2, 2) and not changed:
            changed.append(world.store.steer(JOB, JobChange(num_frames=num_frames), 800).record)

    world.work(world.maker(NotingEngine(shorten), ahead=ahead))
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    other = World()
    other.submit(num_frames=num_frames)
    other.work(other.maker())
    assert [chunk.sha256 for chunk in world.chunks()] == [chunk.sha256 for chunk in other.chunks()]


def test_a_damaged_chunk_that_is_found_meanwhile_is_made_again_first(world: World) -> None:
    world.submit(num_frames=96)

    def damage(index: int, step: int) -> None:
        if (index, step) == (3, 1) and not world.store.get(JOB).repairs and engine.begun.count(0) == 1:
            record = world.store.get(JOB)
            world.store.memory.records[JOB] = record.model_copy(update={"repairs": (0,)})

    engine = NotingEngine(damage)
    world.work(world.maker(engine, ahead=AtOnce))
    record = world.store.get(JOB)
    assert (record.status, record.repairs) == (JobStatus.SUCCEEDED, ())
    assert engine.begun.count(0) == 2


def told(begun_for: JobRecord, index: int = 1, **changes: Any) -> JobRecord:
    """The job once the chunk before `index` is committed; its record, or else its spec, has changed meanwhile."""
    of_record = {name: changes.pop(name) for name in ("id", "prepared", "repairs") if name in changes}
    spec = begun_for.spec.model_copy(update=changes)
    chunks = totals_of(tuple(chunk_of(begun_for, each) for each in range(index)))
    return begun_for.model_copy(update={"spec": spec, "chunks": chunks, **of_record})


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "job_b"},
        {"seed": 99},
        {"prompt": "a blue circle"},
        {"prompt_changes": (PromptChange(start_frame=31, text="a blue circle"),)},
        {"num_frames": 31},
        {"num_frames": 16},
        {"prepared": PreparedMedia(key="jobs/a/input/1", sha256="0" * 64, at=DAY_ONE)},
        {"repairs": (0,)},
    ],
)
def test_a_chunk_made_ahead_is_used_only_if_all_that_it_was_made_from_is_the_same(changes: dict[str, Any]) -> None:
    begun_for = queued_job(num_frames=48)
    assert follows(begun_for, 1, told(begun_for))
    assert not follows(begun_for, 2, told(begun_for))
    assert not follows(begun_for, 1, told(begun_for, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"seen": "yes"}},
        {"priority": Priority.HIGH},
        {"webhook_url": "https://example.com/hook", "webhook_events": ("chunk.completed",)},
        {"prompt_changes": (PromptChange(start_frame=32, text="a blue circle"),)},
        {"num_frames": 32},
        {"num_frames": None, "endless_limit": 800},
    ],
)
def test_a_chunk_made_ahead_is_used_although_what_it_was_not_made_from_has_changed(changes: dict[str, Any]) -> None:
    begun_for = queued_job(num_frames=48)
    assert follows(begun_for, 1, told(begun_for, **changes))


def test_a_short_chunk_made_ahead_is_not_used_if_it_gets_more_frames() -> None:
    begun_for = queued_job(num_frames=40)
    assert follows(begun_for, 2, told(begun_for, 2))
    assert not follows(begun_for, 2, told(begun_for, 2, num_frames=41))
