"""Jobs without an end in the lanes: same bytes as with one, and nothing that grows but the video."""

from __future__ import annotations

from typing import Any

import pytest

from core.service.domain.manifest import frames_key, frames_prefix, refined_video_key, state_key, video_key
from core.service.domain.schema import JobChange, JobRecord, JobStatus
from core.service.records.chunk_reads import all_chunks
from core.service.records.kept_objects import unneeded_keys
from core.service.video.decode import decode_frames
from tests.helpers.fake_world import JOB, World
from tests.helpers.jobs import refine_spec
from worker.lanes.completion import wake
from worker.lanes.finalize import Finalizer
from worker.lanes.lane import Outcome


def submit(world: World, **changes: Any) -> JobRecord:
    return world.submit(JOB, **{"num_frames": None, "endless_limit": 100_000, **changes})


def generate(world: World, chunks: int, *, refine: bool = False) -> None:
    """The next chunks of the job, each refined as far as it can be."""
    maker, refiner = world.maker(), world.refiner()
    for _ in range(chunks):
        assert maker.work() is Outcome.COMMITTED
        if refine:
            refiner.work()


def change_length(world: World, num_frames: int | None) -> JobRecord:
    """As the API does it."""
    record = world.store.steer(JOB, JobChange(num_frames=num_frames), 100_000).record
    wake(world.services(), record)
    return record


def made_at_once(num_frames: int, **changes: Any) -> World:
    world = World()
    world.submit(num_frames=num_frames, **changes)
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    return world


def kept_states(world: World) -> list[int]:
    count = world.store.get(JOB).chunks.count
    return [index for index in range(count) if state_key(JOB, index) in world.storage.objects]


@pytest.mark.parametrize("num_frames", [48, 49, 64, 72])
def test_a_job_that_gets_its_end_on_the_way_has_the_bytes_of_one_of_that_length(world: World, num_frames: int) -> None:
    submit(world)
    generate(world, 3)
    change_length(world, num_frames)
    world.work(world.maker())
    record, other = world.store.get(JOB), made_at_once(num_frames)
    assert (record.status, record.spec) == (JobStatus.SUCCEEDED, other.store.get(JOB).spec)
    assert [chunk.sha256 for chunk in world.chunks()] == [chunk.sha256 for chunk in other.chunks()]
    assert world.storage.objects[video_key(JOB)] == other.storage.objects[video_key(JOB)]


@pytest.mark.parametrize("num_frames", [48, 56, 80])
def test_so_has_its_refined_video(world: World, num_frames: int) -> None:
    submit(world, refine=refine_spec())
    generate(world, 3, refine=True)
    change_length(world, num_frames)
    world.work(world.maker())
    other = made_at_once(num_frames, refine=refine_spec())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert world.storage.objects[refined_video_key(JOB)] == other.storage.objects[refined_video_key(JOB)]


def test_a_job_may_lose_its_end_and_get_another(world: World) -> None:
    world.submit(num_frames=48)
    generate(world, 2)
    change_length(world, None)
    generate(world, 2)
    change_length(world, 80)
    world.work(world.maker())
    assert world.storage.objects[video_key(JOB)] == made_at_once(80).storage.objects[video_key(JOB)]


def test_a_job_without_an_end_keeps_few_states_while_it_runs(world: World) -> None:
    submit(world)
    generate(world, 20)
    assert kept_states(world) == [0, 7, 15, 18, 19]
    other = World()
    other.submit(num_frames=400)
    generate(other, 20)
    assert len(kept_states(other)) == 20, "a job with an end drops them when it has ended"


def test_lost_states_of_such_a_job_are_made_again_from_those_that_are_kept(world: World) -> None:
    submit(world)
    generate(world, 13)
    for index in (11, 12):
        del world.storage.objects[state_key(JOB, index)]
    generate(world, 1)
    assert world.chunks()[13].sha256 == made_at_once(14 * 16).chunks()[13].sha256


def test_exact_frames_of_such_a_job_go_once_they_are_refined_and_come_back_if_they_are_needed(world: World) -> None:
    submit(world, refine=refine_spec())
    generate(world, 10, refine=True)
    kept = [key for key in world.storage.objects if key.startswith(frames_prefix(JOB))]
    assert kept == [frames_key(JOB, index) for index in range(7, 10)]
    damaged = world.refined()[1]
    world.storage.objects[damaged.key] = b"damaged"
    change_length(world, 160)
    world.work(world.maker())
    other = made_at_once(160, refine=refine_spec())
    assert world.storage.objects[refined_video_key(JOB)] == other.storage.objects[refined_video_key(JOB)]


@pytest.mark.parametrize("refine", [None, refine_spec()])
def test_every_object_that_the_work_needs_is_needed_by_the_record(world: World, refine: object) -> None:
    submit(world, refine=refine)
    for _ in range(20):
        generate(world, 1, refine=refine is not None)
        record = world.store.get(JOB)
        assert unneeded_keys(record, all_chunks(world.store, JOB), world.storage.list(f"jobs/{JOB}/")) == []


def test_canceling_gives_a_whole_video(world: World) -> None:
    submit(world)
    generate(world, 4)
    world.queue.messages.clear()
    world.cancel()
    assert Finalizer(world.services("cpu-1")).work() is Outcome.COMMITTED
    record = world.store.get(JOB)
    assert (record.status, record.frames_done) == (JobStatus.CANCELED, 64)
    assert len(decode_frames(world.storage.objects[video_key(JOB)])) == 64
    assert kept_states(world) == [0, 3]


def test_the_operator_s_limit_ends_it_as_succeeded_with_a_warning(world: World) -> None:
    submit(world, endless_limit=40)
    world.work(world.maker())
    record = world.store.get(JOB)
    assert (record.status, record.frames_done) == (JobStatus.SUCCEEDED, 40)
    assert [warning.code for warning in record.warnings] == ["endless_limit"]
    assert world.storage.objects[video_key(JOB)] == made_at_once(40).storage.objects[video_key(JOB)]
