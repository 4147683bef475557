"""A worker that keeps a job makes its next chunk while one is encoded, stored and committed: same bytes, same outcomes,
and nothing of the next is seen or committed before the one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, InputMedia, OnStep
from core.service.domain.errors import StaleLease, StorageFull, StoreUnavailable
from core.service.domain.manifest import chunk_key, state_key
from core.service.domain.ports import Lease
from core.service.domain.schema import (
    ChunkRecord,
    JobChange,
    JobRecord,
    JobSpec,
    JobStatus,
    Lane,
    PreparedMedia,
    PromptChange,
)
from core.service.domain.schema.older import totals_of
from core.service.redis import queue
from core.service.testing.clock import FakeClock
from core.service.testing.engines import FakeEngine
from core.service.testing.job_store import FakeJobStore
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.storage import FakeStorage
from tests.helpers.background import AtOnce, Late
from tests.helpers.fake_world import JOB, KEEP_SECONDS, MODEL, HookedStorage, World
from tests.helpers.jobs import DAY_ONE, chunk_of, progress_of, queued_job, refine_spec
from worker.lanes.ahead import InBackground, follows
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import Outcome
from worker.runtime.server_retry import ServerCall
from worker.runtime.services import NoActivity

EVERY_ORDER: list[InBackground] = [AtOnce, Late, ServerCall]
WAIT_SECONDS = 30


class NotingEngine(FakeEngine):
    """Calls `at_step(index of the chunk, step)` before on_step, and notes the chunks that it has begun."""

    def __init__(self, at_step: Callable[[int, int], object] = lambda _index, _step: None) -> None:
        super().__init__()
        self.begun: list[int] = []
        self._at_step = at_step

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        index = state.frames_done // 16
        self.begun.append(index)

        def noting(step: int, steps: int) -> None:
            self._at_step(index, step)
            on_step(step, steps)

        return super().next_chunk(spec, state, noting, inputs)


def generate_lane(world: World) -> tuple[int, int, bool]:
    """Attempts and deaths of the lane, and whether it is held."""
    state = world.store.get(JOB).lane(Lane.GENERATE)
    return state.attempts, state.deaths, state.held


def objects_of(**changes: Any) -> dict[str, bytes]:
    """What is stored of the same job if each chunk is made by another worker, from the state in the storage."""
    world = World()
    world.submit(**changes)
    while not world.store.get(JOB).is_complete:
        assert world.maker().work() is Outcome.COMMITTED
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    return {key: data for key, data in world.storage.objects.items() if not key.endswith("manifest.json")}


def sums_of(**changes: Any) -> dict[str, str]:
    """Checksums of these objects."""
    return {key: hashlib.sha256(data).hexdigest() for key, data in objects_of(**changes).items()}


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_one_task_makes_the_whole_video_with_the_bytes_of_one_worker_per_chunk(
    world: World, ahead: InBackground
) -> None:
    world.submit(num_frames=72)
    assert world.maker(ahead=ahead).work() is Outcome.COMMITTED
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK, queue.TASK_FINALIZE_JOB]
    world.work(world.maker())
    made = {key: data for key, data in world.storage.objects.items() if not key.endswith("manifest.json")}
    assert made == objects_of(num_frames=72)
    assert [chunk.version for chunk in world.chunks()] == [1, 2, 3, 4, 5]


def test_the_engine_makes_the_next_chunk_while_one_is_stored_and_never_a_second(world: World) -> None:
    """The order of events, not the time: chunk 0 is stored only once the engine is in the midst of chunk 1, and while
    chunk 1 cannot be stored chunk 2 is made, and chunk 3 is not begun."""
    in_chunk_1, chunk_2_made = threading.Event(), threading.Event()
    committed_at_begin: dict[int, int] = {}

    def at_step(index: int, step: int) -> None:
        committed_at_begin.setdefault(index, len(world.chunks()))
        if (index, step) == (1, 2):
            in_chunk_1.set()
        if (index, step) == (2, 3):
            chunk_2_made.set()

    class Slow(FakeStorage):
        def put(self, key: str, data: bytes, content_type: str) -> None:
            if key == chunk_key(JOB, 0):
                assert in_chunk_1.wait(WAIT_SECONDS), "the engine waits for the storage"
            if key == chunk_key(JOB, 1):
                assert chunk_2_made.wait(WAIT_SECONDS), "the engine waits for the storage"
            super().put(key, data, content_type)

    world.storage = Slow()
    world.submit(num_frames=64)
    engine = NotingEngine(at_step)
    assert world.maker(engine, ahead=ServerCall).work() is Outcome.COMMITTED
    assert engine.begun == [0, 1, 2, 3]
    assert committed_at_begin == {0: 0, 1: 0, 2: 1, 3: 2}


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_clients_see_progress_of_a_chunk_only_once_the_one_before_is_committed(
    world: World, ahead: InBackground
) -> None:
    world.submit(num_frames=48)
    seen = set[tuple[int, int]]()

    def note(_index: int, _step: int) -> None:
        if (progress := progress_of(world.store, JOB)) is not None:
            seen.add((progress.chunk_index, len(world.chunks())))

    world.maker(NotingEngine(note), ahead=ahead).work()
    assert (0, 0) in seen
    assert all(index == committed for index, committed in seen)
    assert progress_of(world.store, JOB) is None


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_timings_of_a_chunk_made_ahead_name_what_it_waited_for(world: World, ahead: InBackground) -> None:
    world.submit(num_frames=32)
    world.maker(ahead=ahead).work()
    first, second = (chunk.timings for chunk in world.chunks())
    assert first.keys() == second.keys()
    assert (second["queue"], second["load"]) == (0, 0)
    assert second["commit"] > 0


def test_the_lease_of_the_next_chunk_is_renewed_under_its_own_token(world: World) -> None:
    world.settings = world.settings.model_copy(update={"lease_ttl_seconds": 0.05})
    world.submit(num_frames=32)
    renewed, tokens = threading.Event(), list[int]()

    class Noting(FakeJobStore):
        def renew(self, lease: Lease, ttl_seconds: float) -> bool:
            tokens.append(lease.token)
            if lease.token == 2:
                renewed.set()
            return super().renew(lease, ttl_seconds)

    noting = Noting(world.clock)
    noting.memory = world.store.memory
    world.store = noting
    engine = NotingEngine(lambda index, step: (index, step) != (1, 3) or renewed.wait(WAIT_SECONDS))
    assert world.maker(engine, ahead=AtOnce).work() is Outcome.COMMITTED
    assert tokens[-1] == 2
    assert generate_lane(world) == (0, 0, False)


# Who is next


def test_a_job_keeps_the_worker_only_until_its_time_is_over(world: World) -> None:
    world.submit(num_frames=48)
    maker = ChunkMaker(world.services(), FakeEngine(), MODEL, keep_seconds=0, in_background=AtOnce)
    assert maker.work() is Outcome.COMMITTED
    assert len(world.chunks()) == 1


def test_a_job_without_an_end_gives_the_worker_to_one_that_waits(world: World) -> None:
    world.submit(num_frames=None, endless_limit=160)

    def submit_another(index: int, step: int) -> None:
        world.clock.advance(1)
        if (index, step) == (2, 0):
            world.submit("job_b", num_frames=32)

    maker = world.maker(NotingEngine(submit_another), ahead=AtOnce)
    maker.work()
    assert (len(world.chunks()), len(world.chunks("job_b"))) == (3, 0)
    maker.work()
    assert (len(world.chunks()), len(world.chunks("job_b"))) == (3, 2), "one that has an end and has begun is finished"


def test_a_job_gives_the_worker_to_an_older_one_that_has_begun_and_not_to_a_new_one(world: World) -> None:
    world.submit("job_old", num_frames=32)
    world.clock.advance(1)
    world.submit(num_frames=48)
    world.clock.advance(1)
    world.submit("job_new", num_frames=32)
    held = world.store.claim("job_old", Lane.GENERATE, "worker-2", 3600)
    assert held

    def let_go(index: int, step: int) -> None:
        if (index, step) == (1, 0):
            world.store.release(held, count_attempt=False)

    maker = world.maker(NotingEngine(let_go), ahead=AtOnce)
    maker.work()
    assert [len(world.chunks(job)) for job in (JOB, "job_old", "job_new")] == [2, 0, 0]
    maker.work()
    assert [len(world.chunks(job)) for job in (JOB, "job_old", "job_new")] == [2, 2, 0]


def test_a_worker_that_refines_too_keeps_no_job_that_is_refined_nor_one_while_others_wait_to_be(world: World) -> None:
    world.submit("job_refined", num_frames=48, refine=refine_spec())
    world.clock.advance(1)
    world.submit(num_frames=48)
    maker = ChunkMaker(
        world.services(), FakeEngine(), MODEL, keep_seconds=KEEP_SECONDS, refines_too=True, in_background=AtOnce
    )
    for made in (1, 2, 3):
        maker.work()
        assert len(world.chunks("job_refined")) == made
    maker.work()
    assert len(world.chunks()) == 1
    world.work(maker)
    assert world.store.get(JOB).status is world.store.get("job_refined").status is JobStatus.SUCCEEDED


def test_after_a_death_a_chunk_is_committed_before_the_next_begins(world: World) -> None:
    """Perhaps the worker died of the next one: the chunk before it must not be lost with each try."""
    world.submit(num_frames=48)
    assert world.store.claim(JOB, Lane.GENERATE, "doomed", 30)
    world.clock.advance(31)
    committed_at_begin: dict[int, int] = {}
    engine = NotingEngine(lambda index, _step: committed_at_begin.setdefault(index, len(world.chunks())))
    maker = world.maker(engine, ahead=Late)
    world.work(maker)
    assert committed_at_begin == {0: 0, 1: 1, 2: 1}


# What may go wrong


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_an_error_of_the_next_chunk_counts_as_its_attempt_and_the_one_before_is_committed(
    world: World, ahead: InBackground
) -> None:
    world.submit(num_frames=48)

    def fail(index: int, step: int) -> None:
        if (index, step) == (1, 1):
            raise RuntimeError("a kernel failed")

    maker = world.maker(NotingEngine(fail), ahead=ahead)
    for tries in (1, 2, 3):
        with pytest.raises(RuntimeError, match="a kernel failed"):
            maker.work()
        assert (len(world.chunks()), generate_lane(world)) == (1, (tries, 0, False))
        world.rest()
    error = world.store.get(JOB).error
    assert error is not None
    assert error.message == "chunk 1 failed 3 times; last error: RuntimeError"


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_an_error_of_a_chunk_that_cannot_be_encoded_is_its_own_and_the_next_is_dropped(
    world: World, ahead: InBackground
) -> None:
    engine = OddEngine()
    engine.odd_until = 32
    world.submit(num_frames=64)
    maker = world.maker(engine, ahead=ahead)
    for _ in range(world.settings.max_attempts):
        with pytest.raises(Exception, match="both sides must be even"):
            maker.work()
        world.rest()
    record = world.store.get(JOB)
    assert record.error is not None
    assert record.error.message.startswith("chunk 1 failed 3 times")
    assert record.chunks.count == 1


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


def test_a_lease_lost_while_a_chunk_is_stored_stops_the_engine_and_commits_nothing(world: World) -> None:
    def steal(key: str) -> None:
        if key == chunk_key(JOB, 1):
            world.clock.advance(31)
            assert world.store.claim(JOB, Lane.GENERATE, "worker-2", 1000)

    calls, steps = list[ServerCall[JobRecord]](), list[tuple[int, int]]()

    def in_background(commit: Callable[[], JobRecord]) -> ServerCall[JobRecord]:
        calls.append(ServerCall(commit))
        return calls[-1]

    def at_step(index: int, step: int) -> None:
        steps.append((index, step))
        if (index, step) == (2, 0):
            with pytest.raises(StaleLease):
                calls[-1].result_within(WAIT_SECONDS)

    world.storage = HookedStorage(steal)
    world.submit(num_frames=160)
    assert world.maker(NotingEngine(at_step), ahead=in_background).work() is Outcome.DROPPED
    record = world.store.get(JOB)
    assert (record.chunks.count, record.lane(Lane.GENERATE).token, generate_lane(world)) == (1, 3, (0, 1, True))
    assert steps[-1] == (2, 0)


def test_a_storage_that_is_away_keeps_a_chunk_and_the_next_and_begins_no_third(world: World) -> None:
    chunk_2_made = threading.Event()
    engine = NotingEngine(lambda index, step: chunk_2_made.set() if (index, step) == (2, 3) else None)
    begun_meanwhile = list[list[int]]()

    class Away(FakeStorage):
        def put(self, key: str, data: bytes, content_type: str) -> None:
            if key == state_key(JOB, 1) and len(begun_meanwhile) < 2:
                assert chunk_2_made.wait(WAIT_SECONDS)
                begun_meanwhile.append(list(engine.begun))
                raise StorageFull  # a pause follows, in which a third could begin
            super().put(key, data, content_type)

    world.storage = Away()
    world.submit(num_frames=64)
    assert world.maker(engine, ahead=ServerCall).work() is Outcome.COMMITTED
    assert begun_meanwhile == [[0, 1, 2], [0, 1, 2]]
    assert engine.begun == [0, 1, 2, 3]


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_a_commit_whose_answer_was_lost_is_made_once_and_the_lane_is_kept(world: World, ahead: InBackground) -> None:
    class AnswerLost(FakeJobStore):
        lost = 1

        def commit_and_claim(self, lease: Lease, chunk: ChunkRecord, fingerprint: str, ttl_seconds: float) -> JobRecord:
            committed = super().commit_and_claim(lease, chunk, fingerprint, ttl_seconds)
            if self.lost > 0:
                self.lost -= 1
                raise StoreUnavailable
            return committed

    world.store = AnswerLost(world.clock)
    world.submit(num_frames=48)
    engine = NotingEngine()
    assert world.maker(engine, ahead=ahead).work() is Outcome.COMMITTED
    assert (engine.begun, world.store.lost) == ([0, 1, 2], 0)
    assert [chunk.version for chunk in world.chunks()] == [1, 2, 3]


def test_the_lease_is_renewed_between_the_attempts_of_a_commit(world: World) -> None:
    """Otherwise finished work would be lost while Redis refuses commits only."""
    world.settings = world.settings.model_copy(update={"lease_ttl_seconds": 0.05})

    class Refusing(FakeJobStore):
        def __init__(self, clock: FakeClock) -> None:
            super().__init__(clock)
            self.refused, self.renewed = threading.Event(), threading.Event()

        def commit_chunk(self, lease: Lease, chunk: ChunkRecord, fingerprint: str) -> JobRecord:
            if self.renewed.is_set():
                return super().commit_chunk(lease, chunk, fingerprint)
            self.refused.set()
            raise StoreUnavailable

        def renew(self, lease: Lease, ttl_seconds: float) -> bool:
            if self.refused.is_set():
                self.renewed.set()
            return super().renew(lease, ttl_seconds)

        def cancel_requested(self, job_id: str) -> bool:
            if self.refused.is_set():  # in the pause
                assert self.renewed.wait(WAIT_SECONDS), "no renewal while the commit is retried"
            return super().cancel_requested(job_id)

    world.store = Refusing(world.clock)
    world.submit(num_frames=16)
    assert world.maker().work() is Outcome.COMMITTED


@pytest.mark.parametrize("ahead", EVERY_ORDER)
def test_a_drain_after_a_lost_answer_gives_the_kept_lane_back(world: World, ahead: InBackground) -> None:
    services = world.services()

    class AnswerLost(FakeJobStore):
        def commit_and_claim(self, lease: Lease, chunk: ChunkRecord, fingerprint: str, ttl_seconds: float) -> JobRecord:
            super().commit_and_claim(lease, chunk, fingerprint, ttl_seconds)
            services.drain.set()
            raise StoreUnavailable

    world.store = AnswerLost(world.clock)
    services = world.services()
    world.submit(num_frames=48)
    assert world.maker(services=services, ahead=ahead).work() is Outcome.INTERRUPTED
    assert (len(world.chunks()), generate_lane(world)) == (1, (0, 0, False))


class OutOfMemoryError(RuntimeError):
    """As torch raises it on a GPU."""


OutOfMemoryError.__module__ = "torch"


class OddEngine(NotingEngine):
    """One chunk cannot be encoded: the first."""

    odd_until = 16
    """Frames of the video after that chunk."""

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        made = super().next_chunk(spec, state, on_step, inputs)
        return replace(made, frames=made.frames[:, :-1]) if made.state.frames_done == self.odd_until else made


def raising(error: Exception, at: tuple[int, int], first: Callable[[], object] = lambda: None) -> Callable[..., None]:
    """A hook that calls `first` and raises once, at that chunk and step."""
    left = [error]

    def at_step(index: int, step: int) -> None:
        if (index, step) == at and left:
            first()
            raise left.pop()

    return at_step


def test_an_error_of_a_chunk_that_is_not_used_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.submit(num_frames=48)
    maker = world.maker(OddEngine(raising(RuntimeError("a kernel failed"), (1, 1))), ahead=Late)
    with pytest.raises(Exception, match="both sides must be even"):
        maker.work()
    assert "chunk 1, which is not used, failed" in caplog.text
    assert "a kernel failed" in caplog.text


def test_a_device_fault_ends_the_process_although_the_chunk_before_failed(world: World) -> None:
    world.submit(num_frames=48)
    with pytest.raises(OutOfMemoryError):
        world.maker(OddEngine(raising(OutOfMemoryError(), (1, 1))), ahead=Late).work()
    assert (len(world.chunks()), generate_lane(world)) == (0, (1, 0, False))


def test_a_device_fault_ends_the_process_although_the_lane_was_not_kept(world: World) -> None:
    world.submit(num_frames=48)
    services = world.services()
    engine = NotingEngine(raising(OutOfMemoryError(), (1, 1), services.drain.set))
    maker = world.maker(engine, services, ahead=Late)
    with pytest.raises(OutOfMemoryError):
        maker.work()
    assert (len(world.chunks()), generate_lane(world)) == (1, (0, 0, False))


def test_a_device_fault_ends_the_process_although_the_chunk_is_no_longer_wanted(world: World) -> None:
    world.submit(num_frames=96)
    engine = NotingEngine(
        raising(OutOfMemoryError(), (2, 2), lambda: world.store.steer(JOB, JobChange(prompt="a blue circle")))
    )
    maker = world.maker(engine, ahead=Late)
    with pytest.raises(OutOfMemoryError):
        maker.work()
    assert engine.begun == [0, 1, 2, 2]
    assert generate_lane(world) == (0, 0, False)


@pytest.mark.parametrize("ahead", [Late, ServerCall])
def test_a_chunk_is_committed_before_the_task_ends_however_it_does(world: World, ahead: InBackground) -> None:
    world.submit(num_frames=48)

    def leave(index: int, step: int) -> None:
        if (index, step) == (1, 1):
            raise SystemExit

    with pytest.raises(SystemExit):
        world.maker(NotingEngine(leave), ahead=ahead).work()
    assert len(world.chunks()) == 1


def test_progress_and_cancels_of_the_next_chunk_do_not_wait_for_the_manifest(world: World) -> None:
    writing, end = threading.Event(), threading.Event()

    class Slow(FakeStorage):
        def put(self, key: str, data: bytes, content_type: str) -> None:
            if key.endswith("manifest.json") and JOB in world.store.memory.records and len(world.chunks()) == 1:
                writing.set()
                assert end.wait(WAIT_SECONDS)
            super().put(key, data, content_type)

    told = list[int]()
    steps = list[int]()

    def at_step(index: int, step: int) -> None:
        if index == 1:
            steps.append(step)
        if (index, step) == (1, 0):
            assert writing.wait(WAIT_SECONDS)
        if (index, step) == (1, 1):
            progress = progress_of(world.store, JOB)
            told.extend([progress.chunk_index] if progress else [])
            world.store.request_cancel(JOB)
            threading.Timer(0.1, end.set).start()

    world.storage = Slow()
    world.submit(num_frames=48)
    world.maker(NotingEngine(at_step), ahead=ServerCall).work()
    assert (told, steps) == ([1], [0, 1])


def test_a_fault_after_a_commit_is_no_attempt_at_the_chunk(world: World) -> None:
    class Faulty(FakeTaskQueue):
        faults = 1

        def deliver_webhooks(self) -> None:
            if self.faults > 0:
                self.faults -= 1
                raise RuntimeError("a fault of the queue's client")
            super().deliver_webhooks()

    world.queue = Faulty()
    world.submit(num_frames=48, webhook_url="https://example.com/hook", webhook_events=("chunk.completed",))
    assert world.maker(ahead=Late).work() is Outcome.COMMITTED
    assert (len(world.chunks()), world.queue.faults, generate_lane(world)) == (3, 0, (0, 0, False))


def test_steps_of_a_chunk_made_ahead_leave_what_the_one_before_waits_for(world: World) -> None:
    notes = list[str]()

    class Noting(NoActivity):
        def alive(self) -> None:
            notes.append("begins")

        def beat(self, *, while_waiting: bool = False) -> None:
            notes.append("beside" if while_waiting else "alone")

    world.submit(num_frames=32)
    maker = ChunkMaker(world.services(), FakeEngine(), MODEL, Noting(), keep_seconds=KEEP_SECONDS, in_background=Late)
    maker.work()
    assert notes == ["begins", *["alone"] * 4, "begins", *["beside"] * 4]


def test_a_speed_does_not_count_what_ran_beside_the_next_chunk(world: World) -> None:
    world.submit(num_frames=16 * 2)
    world.maker(ahead=Late).work()
    first, second = (chunk.timings for chunk in world.chunks())
    speeds = world.speeds.of(MODEL)
    beside = {"queue", "encode", "upload"}
    assert speeds["first"] == pytest.approx(sum(s for phase, s in first.items() if phase not in beside) / 4)
    assert speeds["next"] == pytest.approx(sum(s for phase, s in second.items() if phase != "queue") / 4)


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
