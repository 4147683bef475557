"""The generate lane: what is stored and committed, which job is next, and how it ends."""

from __future__ import annotations

import hashlib
import threading

import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, InputMedia, OnStep
from core.service.domain.errors import JobNotFound, StoreUnavailable
from core.service.domain.manifest import chunk_key, manifest_key, state_key
from core.service.domain.schema import JobSpec, JobStatus, Lane
from core.service.redis import queue
from core.service.testing.engines import FakeEngine
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import JOB, MODEL, HookedEngine, HookedStorage, World
from tests.helpers.generating import attempts
from tests.helpers.jobs import progress_of
from tests.helpers.manifests import record_from_manifest
from worker.lanes.lane import Outcome


def test_a_chunk_is_stored_with_its_state_committed_and_passed_on(world: World) -> None:
    world.submit()
    world.queue.take()
    assert world.maker().work() is Outcome.COMMITTED
    record = world.store.get(JOB)
    (chunk,) = world.chunks()
    data = world.storage.objects[chunk_key(JOB, 0)]
    assert (chunk.first_frame, chunk.num_frames, chunk.size_bytes) == (0, 16, len(data))
    assert chunk.sha256 == hashlib.sha256(data).hexdigest()
    assert EngineState.from_bytes(world.storage.objects[state_key(JOB, 0)]).frames_done == 16
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]) == record
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


def test_the_last_chunk_holds_the_rest_and_sends_the_job_to_be_finalised(world: World) -> None:
    world.submit(num_frames=17)
    maker = world.maker()
    maker.work()
    world.queue.messages.clear()
    maker.work()
    record = world.store.get(JOB)
    assert [chunk.num_frames for chunk in world.chunks()] == [16, 1]
    assert record.status is JobStatus.FINALIZING
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_another_worker_continues_with_the_same_bytes(world: World) -> None:
    world.submit()
    world.maker().work()
    world.maker(services=world.services("worker-2")).work()
    other = World()
    other.submit()
    alone = other.maker()
    alone.work()
    alone.work()
    assert world.chunks()[1].sha256 == other.chunks()[1].sha256
    assert world.storage.objects[state_key(JOB, 1)] == other.storage.objects[state_key(JOB, 1)]


def test_a_worker_that_continues_does_not_fetch_the_state_it_has_just_stored(world: World) -> None:
    world.submit()
    maker = world.maker()
    maker.work()
    del world.storage.objects[state_key(JOB, 0)]
    assert maker.work() is Outcome.COMMITTED


def test_timings_add_up_to_the_time_between_commits(world: World) -> None:
    world.submit()
    world.clock.advance(5)
    maker = world.maker()
    maker.work()
    world.clock.advance(7)
    maker.work()
    first, second = (chunk.timings for chunk in world.chunks())
    assert {"queue", "load", "denoise", "encode", "upload", "commit"} <= first.keys()
    assert (first["queue"], first["commit"]) == (5, 0)
    assert second["queue"] + second["commit"] == pytest.approx(7)
    assert second["commit"] > 0


def test_progress_is_reported_before_each_step_and_gone_after_the_commit(world: World) -> None:
    world.submit()
    seen: list[tuple[int, int] | None] = []

    def note(_step: int) -> None:
        progress = progress_of(world.store, JOB)
        seen.append((progress.step, progress.steps) if progress else None)

    world.maker(HookedEngine(note)).work()
    assert seen == [None, (0, 4), (1, 4), (2, 4)]
    assert progress_of(world.store, JOB) is None


def test_a_duplicate_task_is_dropped_while_a_lease_lives(world: World) -> None:
    world.submit()
    world.store.claim(JOB, Lane.GENERATE, "somebody", 30)
    assert world.maker().work() is Outcome.DROPPED
    assert [*world.storage.objects] == [manifest_key(JOB)]


def test_a_message_without_work_is_dropped(world: World) -> None:
    assert world.maker().work() is Outcome.DROPPED
    world.submit()
    world.store.request_cancel(JOB)
    assert world.maker().work() is Outcome.DROPPED
    world.store.request_delete(JOB)
    assert world.maker().work() is Outcome.DROPPED


def test_what_has_begun_comes_first_then_the_oldest_new_job(world: World) -> None:
    for job_id in ("job_b", "job_c", "job_a"):
        world.submit(job_id, num_frames=32)
        world.clock.advance(1)
    maker, order = world.maker(), list[str]()
    for _ in range(6):
        before = {job_id: len(world.chunks(job_id)) for job_id in ("job_a", "job_b", "job_c")}
        maker.work()
        order += [job_id for job_id, count in before.items() if len(world.chunks(job_id)) > count]
    assert order == ["job_b", "job_b", "job_c", "job_c", "job_a", "job_a"]


def test_a_second_worker_takes_the_next_job(world: World) -> None:
    world.submit("job_b")
    world.clock.advance(1)
    world.submit("job_c")
    world.store.claim("job_b", Lane.GENERATE, "somebody", 30)
    assert world.maker().work() is Outcome.COMMITTED
    assert len(world.chunks("job_c")) == 1


def test_a_worker_that_takes_a_job_wakes_another_for_the_next(world: World) -> None:
    world.submit("job_b")
    world.submit("job_c")
    world.queue.messages.clear()
    woken: list[list[str]] = []
    world.maker(HookedEngine(lambda _step: woken.append(world.tasks()))).work()
    assert woken[0] == [queue.TASK_GENERATE_CHUNK]


def test_cancel_stops_at_the_next_step_and_finalises_what_exists(world: World) -> None:
    world.submit()
    world.maker().work()
    world.queue.messages.clear()
    steps: list[int] = []

    def cancel_at_one(step: int) -> None:
        steps.append(step)
        if step == 1:
            world.store.request_cancel(JOB)

    assert world.maker(HookedEngine(cancel_at_one)).work() is Outcome.INTERRUPTED
    record = world.store.get(JOB)
    assert steps == [0, 1]
    assert (record.chunks.count, record.status, attempts(world)) == (1, JobStatus.FINALIZING, 0)
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_a_job_cancelled_between_two_chunks_is_finalised_without_a_generation_worker(world: World) -> None:
    world.submit()
    world.maker().work()
    assert world.store.request_cancel(JOB).status is JobStatus.FINALIZING


def test_a_job_deleted_during_a_chunk_is_left_to_the_janitor_at_once(world: World) -> None:
    world.submit()
    world.queue.messages.clear()

    def delete(step: int) -> None:
        if step == 1:
            world.store.request_delete(JOB)

    assert world.maker(HookedEngine(delete)).work() is Outcome.INTERRUPTED
    assert not world.store.lease_alive(JOB, Lane.GENERATE)
    assert world.tasks() == [queue.TASK_JANITOR]
    assert not world.storage.objects


def test_drain_gives_the_job_back_at_once_and_does_not_count_the_try(world: World) -> None:
    world.submit()
    world.queue.messages.clear()
    services = world.services()
    engine = HookedEngine(lambda step: services.drain.set() if step == 2 else None)
    assert world.maker(engine, services).work() is Outcome.INTERRUPTED
    assert (attempts(world), world.store.lease_alive(JOB, Lane.GENERATE)) == (0, False)
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


def test_a_worker_whose_lease_another_took_commits_nothing(world: World) -> None:
    world.submit()
    world.queue.messages.clear()

    def lose(step: int) -> None:
        if step == 3:
            world.clock.advance(31)
            world.store.claim(JOB, Lane.GENERATE, "worker-2", 30)

    assert world.maker(HookedEngine(lose)).work() is Outcome.DROPPED
    record = world.store.get(JOB)
    assert (record.chunks.count, record.lane(Lane.GENERATE).token) == (0, 2)
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

    assert world.maker(HookedEngine(lose)).work() is Outcome.INTERRUPTED
    assert steps == [0]


def test_chunk_webhooks_wake_the_sender_only_where_asked_for(world: World) -> None:
    world.submit(webhook_url="https://example.com/hook", webhook_events=("chunk.completed",))
    world.maker().work()
    assert queue.TASK_DELIVER_WEBHOOKS in world.tasks()
    other = World()
    other.submit(webhook_url="https://example.com/hook")
    other.maker().work()
    assert queue.TASK_DELIVER_WEBHOOKS not in other.tasks()


def test_a_deleted_job_is_not_brought_back_by_a_late_commit(world: World) -> None:
    world.storage = HookedStorage(lambda key: world.store.request_delete(JOB) if key == chunk_key(JOB, 0) else None)
    world.submit()
    assert world.maker().work() is Outcome.INTERRUPTED
    with pytest.raises(JobNotFound):
        world.store.get(JOB)
    assert not world.store.lease_alive(JOB, Lane.GENERATE)
    assert queue.TASK_JANITOR in world.tasks()


class ReadingEngine(FakeEngine):
    """Notes the prompts that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def start(self, spec: JobSpec, inputs: InputMedia = NO_INPUT_MEDIA) -> EngineState:
        self.read.append(spec.prompt)
        return super().start(spec, inputs)

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        self.read.append(spec.prompt)
        return super().next_chunk(spec, state, on_step, inputs)


def test_the_engine_reads_the_longer_prompt(world: World) -> None:
    engine = ReadingEngine()
    world.submit(prompt="a dog", prompt_used="a brown dog on grass")
    world.work(world.maker(engine))
    assert set(engine.read) == {"a brown dog on grass"}
    assert world.store.get(JOB).spec.prompt == "a dog"


def test_made_chunks_are_measured_for_estimates(world: World) -> None:
    world.submit(num_frames=40)
    world.work(world.maker())
    assert set(world.speeds.of(MODEL)) == {"first", "next"}


def test_an_outage_of_the_store_while_a_chunk_is_measured_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(world.speeds, "report", away)
    world.submit()
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
