"""The generate lane: what is stored and committed, and every possible outcome."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    ChunkRequest,
    Engine,
    EngineChunk,
    EngineState,
    InputMedia,
    OnStep,
)
from core.service.domain.errors import (
    HubUnreachable,
    JobNotFound,
    LongtakeError,
    NotFinite,
    PresetError,
    StaleLease,
    StorageFull,
    StorageUnavailable,
    StoreUnavailable,
)
from core.service.domain.manifest import chunk_key, manifest_key, state_key
from core.service.domain.ports import Lease
from core.service.domain.schema import ChunkRecord, JobError, JobRecord, JobSpec, JobStatus, Lane
from core.service.redis import queue
from core.service.testing.engines import FakeEngine
from core.service.testing.job_store import FakeJobStore
from core.service.testing.storage import FakeStorage
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import JOB, MODEL, HookedEngine, HookedStorage, World
from tests.helpers.jobs import progress_of
from tests.helpers.manifests import record_from_manifest
from worker.lanes.completion import job_error
from worker.lanes.lane import Outcome


class BrokenEngine(FakeEngine):
    """Always fails in the midst of a chunk."""

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        del spec, state, inputs
        on_step(0, 2)
        raise RuntimeError("a kernel of /home/someone failed")


def attempts(world: World) -> int:
    return world.store.get(JOB).lane(Lane.GENERATE).attempts


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


def test_an_engine_error_counts_and_fails_the_job_at_the_limit_without_paths_in_the_message(world: World) -> None:
    world.submit()
    world.queue.messages.clear()
    maker = world.maker(BrokenEngine())
    for tries in (1, 2, 3):
        with pytest.raises(RuntimeError):
            maker.work()
        assert attempts(world) == tries
        assert world.tasks() == []
        assert maker.work() is Outcome.DROPPED
        world.clock.advance(world.settings.janitor_interval_seconds * 2**tries)
    record = world.store.get(JOB)
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert (record.error.code, record.error.retryable) == ("engine_error", False)
    assert record.error.message == "chunk 0 failed 3 times; last error: RuntimeError"
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]).status is JobStatus.FAILED


@pytest.mark.parametrize(
    "error",
    [
        PresetError("/srv/models/sprites/unet is damaged", fix="restore /srv/models"),
        HubUnreachable("http://10.0.0.7:3128 does not answer"),
        StorageUnavailable("http://10.0.0.7:9000 does not answer: PUT jobs/job_a/secret"),
        StoreUnavailable("10.0.0.7:6379 does not answer"),
        OSError(2, "No such file", "/srv/models/10.0.0.7"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_error_of_a_failed_job_shows_no_address_key_or_folder(error: Exception) -> None:
    told = job_error(error, "chunk 3 failed 3 times", "engine_error").model_dump_json()
    assert "chunk 3 failed 3 times; last error: " in told
    assert not any(secret in told for secret in ("10.0.0.7", "/srv", "secret"))


def test_a_commit_forgets_the_failures_before_it(world: World) -> None:
    world.submit()
    with pytest.raises(RuntimeError):
        world.maker(BrokenEngine()).work()
    world.clock.advance(60)
    assert world.maker().work() is Outcome.COMMITTED
    assert attempts(world) == 0


def kill_workers(world: World, count: int, meanwhile: Callable[[], object]) -> None:
    """Workers that claim the job and die of it, one after the other; others do `meanwhile`."""
    for _ in range(count):
        assert world.store.claim(JOB, Lane.GENERATE, "doomed", 30) is not None
        meanwhile()
        world.clock.advance(31)


def other_job_gets_on(world: World) -> Callable[[], object]:
    world.clock.advance(1)
    world.submit("job_other", num_frames=1600)
    return world.maker(services=world.services("worker-2")).work


def test_deaths_of_workers_are_no_attempts_of_the_job(world: World) -> None:
    world.submit(num_frames=16)
    kill_workers(world, 6, lambda: None)
    assert world.maker().work() is Outcome.COMMITTED
    assert attempts(world) == 0


def test_a_job_that_kills_workers_while_others_succeed_fails_as_poison(world: World) -> None:
    world.submit()
    kill_workers(world, 5, other_job_gets_on(world))
    assert world.maker().work() is Outcome.FAILED
    error = world.store.get(JOB).error
    assert error is not None
    assert (error.code, error.message) == (
        "poison_job",
        "5 workers in a row died while making chunk 0",
    )


def test_one_death_less_is_none_and_a_commit_forgets_them(world: World) -> None:
    world.submit()
    kill_workers(world, 4, other_job_gets_on(world))
    assert world.maker().work() is Outcome.COMMITTED
    assert world.store.get(JOB).lane(Lane.GENERATE).deaths == 0


class AwayStorage(FakeStorage):
    """Refuses the first `failures` puts below a job's chunks."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def put(self, key: str, data: bytes, content_type: str) -> None:
        if key == chunk_key(JOB, 0) and self.failures > 0:
            self.failures -= 1
            raise StorageFull
        super().put(key, data, content_type)


def test_a_chunk_is_kept_while_the_object_store_is_away_and_no_try_is_used_up(world: World) -> None:
    world.storage = AwayStorage(2)
    world.submit()
    made: list[int] = []
    assert world.maker(HookedEngine(made.append)).work() is Outcome.COMMITTED
    assert (world.storage.failures, made, attempts(world)) == (0, [0, 1, 2, 3], 0)


class StoppingStorage(FakeStorage):
    """The process is told to stop while it stores a chunk, and the put takes `seconds` more, or until `end`."""

    def __init__(self, stop: threading.Event, seconds: float) -> None:
        super().__init__()
        self.end = threading.Event()
        self._stop, self._seconds = stop, seconds

    def put(self, key: str, data: bytes, content_type: str) -> None:
        if key == chunk_key(JOB, 0):
            self._stop.set()
            self.end.wait(self._seconds)
        super().put(key, data, content_type)


def test_a_put_in_progress_goes_on_for_a_while_after_a_drain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.runtime.server_retry.CHECK_SECONDS", 0.01)
    drain = threading.Event()
    world.storage = StoppingStorage(drain, 0.1)
    world.submit()
    services = replace(world.services(), drain=drain)
    assert world.maker(services=services).work() is Outcome.COMMITTED
    assert world.store.get(JOB).chunks.count == 1


def test_a_put_that_hangs_is_given_up_after_a_drain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.runtime.server_retry.CHECK_SECONDS", 0.01)
    monkeypatch.setattr("worker.lanes.server_access.PUT_GRACE_SECONDS", 0.05)
    drain = threading.Event()
    storage = world.storage = StoppingStorage(drain, 60)
    world.submit()
    assert world.maker(services=replace(world.services(), drain=drain)).work() is Outcome.INTERRUPTED
    assert (attempts(world), world.store.lease_alive(JOB, Lane.GENERATE)) == (0, False)
    storage.end.set()


def test_a_cancel_ends_the_wait_for_the_object_store(world: World) -> None:
    world.storage = AwayStorage(1000)
    world.submit()
    canceled = threading.Timer(0.3, world.store.request_cancel, [JOB])
    canceled.start()
    assert world.maker().work() is Outcome.INTERRUPTED
    canceled.join()
    assert world.store.get(JOB).status is JobStatus.FINALIZING


def test_a_store_that_is_away_at_the_commit_costs_only_waiting(world: World) -> None:
    class AwayAtTheCommit(FakeJobStore):
        failures = 2

        def commit_chunk(self, lease: Lease, chunk: ChunkRecord, fingerprint: str) -> JobRecord:
            if self.failures > 0:
                self.failures -= 1
                raise StoreUnavailable
            return super().commit_chunk(lease, chunk, fingerprint)

    world.store = AwayAtTheCommit(world.clock)
    world.submit()
    assert world.maker().work() is Outcome.COMMITTED
    assert attempts(world) == 0


class NotFiniteEngine(FakeEngine):
    """Makes one chunk, and numbers that are none in the next."""

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        if state.frames_done:
            raise NotFinite("the window of chunk 1 is not finite")
        return super().next_chunk(spec, state, on_step, inputs)


def test_numbers_that_are_not_finite_fail_the_job_at_once_and_keep_its_chunks(world: World) -> None:
    world.submit()
    maker = world.maker(NotFiniteEngine())
    assert maker.work() is Outcome.COMMITTED
    assert maker.work() is Outcome.FAILED
    record = world.store.get(JOB)
    assert record.error == JobError(code="not_finite", message="the window of chunk 1 is not finite", retryable=False)
    assert chunk_key(JOB, 0) in world.storage.objects


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


def test_a_chunk_that_cannot_be_made_again_as_it_was_fails_the_job(world: World) -> None:
    class Changed(FakeEngine):
        def next_chunk(
            self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
        ) -> EngineChunk:
            made = super().next_chunk(spec, state, on_step, inputs)
            return EngineChunk(made.frames // 2, made.state, made.timings)

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
    class Changed(FakeEngine):
        @property
        def fingerprint(self) -> str:
            return super().fingerprint if same else "another build"

        def next_chunk(
            self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
        ) -> EngineChunk:
            made = super().next_chunk(spec, state, on_step, inputs)
            return EngineChunk(made.frames // 2, made.state, made.timings)

    world.submit(num_frames=32)
    world.maker().work()
    published = world.storage.objects[chunk_key(JOB, 0)]
    del world.storage.objects[state_key(JOB, 0)]
    outcome = world.maker(Changed(), world.services("worker-2")).work()
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


class ForeignEngine(FakeEngine):
    """A third party's, which returns `results` for one request."""

    def __init__(self, results: list[Any], start: Any = None) -> None:
        super().__init__()
        self._results, self._start = results, start

    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        return self._start or super().start(spec, inputs)

    def next_chunks(self, requests: Sequence[ChunkRequest]) -> list[EngineChunk | Exception]:
        del requests
        return self._results


def foreign_chunk(frames: Any = None, state: Any = None) -> EngineChunk:
    """A chunk 0 that is right but for what is named."""
    frames = np.zeros((16, 64, 64, 3), np.uint8) if frames is None else frames
    return EngineChunk(frames, EngineState(16) if state is None else state, {})


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (ForeignEngine([]), "the engine returned 0 chunks for 1 request"),
        (ForeignEngine([foreign_chunk()] * 2), "the engine returned 2 chunks for 1 request"),
        (ForeignEngine([None]), "the engine returned NoneType instead of an EngineChunk"),
        (
            ForeignEngine([foreign_chunk(np.zeros((15, 64, 64, 3), np.uint8))]),
            "the engine returned 15 frames instead of 16",
        ),
        (ForeignEngine([foreign_chunk([1] * 16)]), "the engine returned frames that are no numpy array"),
        (
            ForeignEngine([foreign_chunk(np.zeros((16, 64, 64, 3), np.float32))]),
            "Expected uint8 RGB frames THWC, got float32 (16, 64, 64, 3).",
        ),
        (ForeignEngine([foreign_chunk(state={})]), "the engine returned dict instead of an EngineState"),
        (
            ForeignEngine([foreign_chunk(state=EngineState(32))]),
            "the engine returned a state with frames_done 32 instead of 16",
        ),
        (
            ForeignEngine([foreign_chunk(state=EngineState(16, {"x": np.asarray([object()])}))]),
            "the engine returned a state that cannot be stored: ",
        ),
        (
            ForeignEngine([foreign_chunk(state=EngineState(16, {"frames_done": np.zeros(3)}))]),
            "the engine returned a state that cannot be stored: no array may be named frames_done",
        ),
        (
            ForeignEngine([foreign_chunk()], start=EngineState(16)),
            "the engine's start returned a state with frames_done 16 instead of 0",
        ),
    ],
)
def test_the_job_says_what_a_third_partys_engine_does_wrong(world: World, engine: Engine, said: str) -> None:
    world.submit()
    maker = world.maker(engine)
    for _ in range(world.settings.max_attempts):
        with pytest.raises(LongtakeError):
            maker.work()
        world.rest()
    record = world.store.get(JOB)
    assert record.error is not None
    assert record.error.message.startswith(f"chunk 0 failed 3 times; last error: {said}")
    assert record.chunks.count == 0


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
