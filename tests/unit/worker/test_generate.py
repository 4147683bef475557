"""The chunk step: what is stored and committed, and what happens at every way out."""

from __future__ import annotations

import hashlib
import threading

import pytest

from core.service import queue
from core.service.engine import EngineChunk, EngineState, OnStep
from core.service.errors import JobNotFound, StorageError
from core.service.fakes import FakeEngine
from core.service.manifest import chunk_key, manifest_key, record_from_manifest, state_key
from core.service.schema import JobSpec, JobStatus, Lane
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import JOB, HookedEngine, HookedStorage, World
from worker.lane import Outcome


class BrokenEngine(FakeEngine):
    """Always fails in the midst of a chunk."""

    def next_chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:  # noqa: ARG002 - the port's
        on_step(0, 2)
        raise RuntimeError("a kernel of /home/someone failed")


def attempts(world: World) -> int:
    return world.store.get(JOB).lane(Lane.GENERATE).attempts


def test_a_chunk_is_stored_with_its_state_committed_and_passed_on(world: World) -> None:
    world.submit()
    world.queue.take()
    assert world.maker().work_on(JOB) is Outcome.COMMITTED
    record = world.store.get(JOB)
    (chunk,) = record.chunks
    data = world.storage.objects[chunk_key(JOB, 0)]
    assert (chunk.first_frame, chunk.num_frames, chunk.size_bytes) == (0, 16, len(data))
    assert chunk.sha256 == hashlib.sha256(data).hexdigest()
    assert EngineState.from_bytes(world.storage.objects[state_key(JOB, 0)]).frames_done == 16
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]) == record
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


def test_the_last_chunk_holds_the_rest_and_sends_the_job_to_be_finalised(world: World) -> None:
    world.submit(num_frames=17)
    maker = world.maker()
    maker.work_on(JOB)
    world.queue.messages.clear()
    maker.work_on(JOB)
    record = world.store.get(JOB)
    assert [chunk.num_frames for chunk in record.chunks] == [16, 1]
    assert record.status is JobStatus.FINALIZING
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_another_worker_goes_on_with_the_same_bytes(world: World) -> None:
    world.submit()
    world.maker().work_on(JOB)
    world.maker(services=world.services("worker-2")).work_on(JOB)
    other = World()
    other.submit()
    alone = other.maker()
    alone.work_on(JOB)
    alone.work_on(JOB)
    assert world.store.get(JOB).chunks[1].sha256 == other.store.get(JOB).chunks[1].sha256
    assert world.storage.objects[state_key(JOB, 1)] == other.storage.objects[state_key(JOB, 1)]


def test_a_worker_that_goes_on_does_not_fetch_what_it_has_just_stored(world: World) -> None:
    world.submit()
    maker = world.maker()
    maker.work_on(JOB)
    del world.storage.objects[state_key(JOB, 0)]
    assert maker.work_on(JOB) is Outcome.COMMITTED


def test_timings_add_up_to_the_time_between_commits(world: World) -> None:
    world.submit()
    world.clock.advance(5)
    maker = world.maker()
    maker.work_on(JOB)
    world.clock.advance(7)
    maker.work_on(JOB)
    first, second = (chunk.timings for chunk in world.store.get(JOB).chunks)
    assert {"queue", "load", "denoise", "encode", "upload", "commit"} <= first.keys()
    assert (first["queue"], first["commit"]) == (5, 0)
    assert second["queue"] + second["commit"] == pytest.approx(7)
    assert second["commit"] > 0


def test_progress_is_reported_before_each_step_and_gone_after_the_commit(world: World) -> None:
    world.submit()
    seen: list[tuple[int, int] | None] = []

    def note(_step: int) -> None:
        progress = world.store.progress(JOB, Lane.GENERATE)
        seen.append((progress.step, progress.steps) if progress else None)

    world.maker(HookedEngine(note)).work_on(JOB)
    assert seen == [None, (0, 4), (1, 4), (2, 4)]
    assert world.store.progress(JOB, Lane.GENERATE) is None


def test_a_duplicate_task_is_dropped_while_a_lease_lives(world: World) -> None:
    world.submit()
    world.store.claim(JOB, Lane.GENERATE, "somebody", 30)
    assert world.maker().work_on(JOB) is Outcome.DROPPED
    assert not world.storage.objects


def test_a_task_of_an_unknown_ended_or_deleted_job_is_dropped(world: World) -> None:
    world.submit()
    world.store.request_cancel(JOB)
    assert world.maker().work_on(JOB) is Outcome.DROPPED
    world.store.request_delete(JOB)
    assert world.maker().work_on(JOB) is Outcome.DROPPED
    assert world.maker().work_on("job_unknown") is Outcome.DROPPED


def test_cancel_stops_at_the_next_step_and_finalises_what_exists(world: World) -> None:
    world.submit()
    world.maker().work_on(JOB)
    world.queue.messages.clear()
    steps: list[int] = []

    def cancel_at_one(step: int) -> None:
        steps.append(step)
        if step == 1:
            world.store.request_cancel(JOB)

    assert world.maker(HookedEngine(cancel_at_one)).work_on(JOB) is Outcome.INTERRUPTED
    record = world.store.get(JOB)
    assert steps == [0, 1]
    assert (len(record.chunks), record.status, attempts(world)) == (1, JobStatus.FINALIZING, 0)
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_a_job_cancelled_between_two_chunks_is_wound_up_by_its_next_task(world: World) -> None:
    world.submit()
    world.maker().work_on(JOB)
    world.store.request_cancel(JOB)
    world.queue.messages.clear()
    assert world.maker().work_on(JOB) is Outcome.DROPPED
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_a_job_deleted_in_the_midst_is_left_to_the_janitor_at_once(world: World) -> None:
    world.submit()
    world.queue.messages.clear()

    def delete(step: int) -> None:
        if step == 1:
            world.store.request_delete(JOB)

    assert world.maker(HookedEngine(delete)).work_on(JOB) is Outcome.INTERRUPTED
    assert not world.store.lease_alive(JOB, Lane.GENERATE)
    assert world.tasks() == [queue.TASK_JANITOR]


def test_drain_gives_the_job_back_at_once_and_does_not_count_the_try(world: World) -> None:
    world.submit()
    world.queue.messages.clear()
    services = world.services()
    engine = HookedEngine(lambda step: services.drain.set() if step == 2 else None)
    assert world.maker(engine, services).work_on(JOB) is Outcome.INTERRUPTED
    assert (attempts(world), world.store.lease_alive(JOB, Lane.GENERATE)) == (0, False)
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


def test_a_worker_whose_lease_another_took_commits_nothing(world: World) -> None:
    world.submit()
    world.queue.messages.clear()

    def lose(step: int) -> None:
        if step == 3:
            world.clock.advance(31)
            world.store.claim(JOB, Lane.GENERATE, "worker-2", 30)

    assert world.maker(HookedEngine(lose)).work_on(JOB) is Outcome.DROPPED
    record = world.store.get(JOB)
    assert (record.chunks, record.lane(Lane.GENERATE).token) == ((), 2)
    assert world.tasks() == []


def test_a_lost_lease_stops_the_engine(world: World) -> None:
    world.settings = world.settings.model_copy(update={"lease_ttl_seconds": 0.05})
    world.submit()
    steps: list[int] = []

    def lose(step: int) -> None:
        steps.append(step)
        if step == 0:
            world.clock.advance(31)
            world.store.claim(JOB, Lane.GENERATE, "worker-2", 1000)
            eventually(lambda: f"lease-{JOB}" not in {thread.name for thread in threading.enumerate()}, "the keeper")

    assert world.maker(HookedEngine(lose)).work_on(JOB) is Outcome.INTERRUPTED
    assert steps == [0]


def test_an_engine_error_counts_and_fails_the_job_at_the_limit_without_telling_paths(world: World) -> None:
    world.submit()
    world.queue.messages.clear()
    maker = world.maker(BrokenEngine())
    for tries in (1, 2, 3):
        with pytest.raises(RuntimeError):
            maker.work_on(JOB)
        assert attempts(world) == tries
        assert world.tasks() == []
    record = world.store.get(JOB)
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert (record.error.code, record.error.retryable) == ("engine_error", False)
    assert record.error.message == "chunk 0 failed 3 times, at last: RuntimeError"
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]).status is JobStatus.FAILED


def test_a_commit_forgets_the_failures_before_it(world: World) -> None:
    world.submit()
    with pytest.raises(RuntimeError):
        world.maker(BrokenEngine()).work_on(JOB)
    world.maker().work_on(JOB)
    assert attempts(world) == 0


def test_a_job_that_kills_its_worker_each_time_fails_in_the_end(world: World) -> None:
    world.submit()
    for _ in range(3):
        assert world.store.claim(JOB, Lane.GENERATE, "doomed", 30) is not None
        world.clock.advance(31)
    assert world.maker().work_on(JOB) is Outcome.FAILED
    error = world.store.get(JOB).error
    assert error is not None
    assert error.code == "worker_lost"


def test_an_object_store_outage_counts_as_a_try_and_is_retryable(world: World) -> None:
    world.submit()
    world.storage.broken = True
    maker = world.maker()
    for _ in range(3):
        with pytest.raises(StorageError):
            maker.work_on(JOB)
    error = world.store.get(JOB).error
    assert error is not None
    assert (error.code, error.retryable) == ("storage_error", True)


def test_chunk_webhooks_wake_the_sender_only_where_asked_for(world: World) -> None:
    world.submit(webhook_url="https://example.com/hook", webhook_events=("chunk.completed",))
    world.maker().work_on(JOB)
    assert queue.TASK_DELIVER_WEBHOOKS in world.tasks()
    other = World()
    other.submit(webhook_url="https://example.com/hook")
    other.maker().work_on(JOB)
    assert queue.TASK_DELIVER_WEBHOOKS not in other.tasks()


def test_a_deleted_job_is_not_brought_back_by_a_late_commit(world: World) -> None:
    world.storage = HookedStorage(lambda key: world.store.request_delete(JOB) if key == chunk_key(JOB, 0) else None)
    world.submit()
    assert world.maker().work_on(JOB) is Outcome.INTERRUPTED
    with pytest.raises(JobNotFound):
        world.store.get(JOB)
    assert not world.store.lease_alive(JOB, Lane.GENERATE)
    assert queue.TASK_JANITOR in world.tasks()
