"""The fakes keep the contract of the real ports; test_store_contract.py holds the real ones to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, EngineState, InputMedia
from core.service.domain.errors import Interrupted, ObjectNotFound, StorageError
from core.service.domain.ports import StoredObject, TaskQueue
from core.service.domain.schema import Lane
from core.service.testing.clock import FakeClock
from core.service.testing.deliveries import FakeDeliveries
from core.service.testing.engines import FakeEngine
from core.service.testing.event_log import FakeEventLog
from core.service.testing.job_store import FakeJobStore
from core.service.testing.outbox import FakeOutbox
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.registries import FakeUploadStore, FakeWorkerRegistry
from core.service.testing.storage import FakeStorage
from tests.helpers.delivery_contract import DeliveryContract
from tests.helpers.jobs import job_spec
from tests.helpers.measuring_contract import MeasuringContract
from tests.helpers.schedule_contract import Queue, ScheduleContract
from tests.helpers.store_contract.contract import StoreContract
from tests.helpers.store_contract.ports import SHORT, StorePorts, worker
from tests.helpers.work_contract import WorkContract


def no_step(step: int, steps: int) -> None:
    assert 0 <= step < steps


@pytest.fixture
def ports() -> StorePorts:
    clock = FakeClock()
    clock.advance(86400)  # past the times of all jobs and chunks here: their viewers are not ahead
    store = FakeJobStore(clock)

    def advance(_job_id: str, _lane: Lane) -> None:
        clock.advance(SHORT)

    workers, uploads = FakeWorkerRegistry(clock), FakeUploadStore(clock)
    return StorePorts(
        store,
        FakeEventLog(store),
        FakeOutbox(store, clock),
        workers,
        uploads,
        clock,
        advance,
        clock.advance,
        FakeDeliveries(store, clock),
    )


class TestFakeStores(StoreContract):
    """The whole contract, in memory."""

    def test_a_silent_worker_disappears(self, ports: StorePorts) -> None:
        ports.workers.report(worker("a"), SHORT)
        ports.wait_until_free("", Lane.GENERATE)
        assert ports.workers.all() == []


class TestFakeMeasuring(MeasuringContract):
    """The same for measuring."""


class TestFakeDeliveries(DeliveryContract):
    """The same for webhooks."""


def test_objects_are_kept_by_key(tmp_path: Path) -> None:
    storage = FakeStorage()
    (tmp_path / "x").write_bytes(b"file")
    storage.put_file("a/1", tmp_path / "x", "text/plain")
    storage.put("a/2", b"two", "text/plain")
    storage.put("b/1", b"other", "text/plain")
    assert (storage.get("a/1"), [*storage.list("a/")], storage.exists("a/3")) == (b"file", ["a/1", "a/2"], False)
    assert storage.delete_prefix("a/") == 2
    with pytest.raises(ObjectNotFound):
        storage.get("a/1")


def test_a_broken_storage_says_so() -> None:
    storage = FakeStorage()
    storage.broken = True
    with pytest.raises(StorageError):
        storage.put("a", b"", "text/plain")


def test_an_object_url_has_the_key_and_download_name() -> None:
    assert FakeStorage().url("a/1.mp4", download_name="x.mp4") == "https://storage.invalid/a/1.mp4?download=x.mp4"


def test_a_message_that_waits_is_not_sent_twice() -> None:
    fake = FakeTaskQueue()
    queue: TaskQueue = fake
    for _ in range(2):
        queue.wake(Lane.GENERATE, "sprites", "job_1")
        queue.janitor()
    assert [message.task for message in fake.messages] == ["longtake.generate_chunk", "longtake.janitor"]
    fake.take()
    queue.wake(Lane.GENERATE, "sprites", "job_1")
    assert len(fake.messages) == 2


def test_the_engine_gives_the_same_bytes_from_a_stored_state() -> None:
    engine, spec = FakeEngine(), job_spec(num_frames=35)
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), no_step)
    straight = engine.next_chunk(spec, first.state, no_step)
    resumed = FakeEngine().next_chunk(spec, EngineState.from_bytes(first.state.to_bytes()), no_step)
    assert np.array_equal(straight.frames, resumed.frames)
    assert straight.state.to_bytes() == resumed.state.to_bytes()


def test_the_engine_makes_exactly_the_frames_asked_for() -> None:
    engine, spec = FakeEngine(height=32, width=48), job_spec(num_frames=35)
    state, shapes = engine.start(spec, NO_INPUT_MEDIA), list[tuple[int, ...]]()
    while state.frames_done < 35:
        chunk = engine.next_chunk(spec, state, no_step)
        shapes.append(chunk.frames.shape)
        state = chunk.state
    assert shapes == [(16, 32, 48, 3), (16, 32, 48, 3), (3, 32, 48, 3)]


def test_the_square_moves_without_a_jump_between_chunks() -> None:
    engine, spec = FakeEngine(), job_spec()
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), no_step)
    second = engine.next_chunk(spec, first.state, no_step)
    frames = np.concatenate([first.frames, second.frames]).astype(np.int16)
    changed_pixels = (np.diff(frames, axis=0) != 0).any(axis=-1).sum(axis=(1, 2))
    assert changed_pixels.min() > 0
    assert changed_pixels.max() <= 2 * 16 * 5


def test_the_prompt_decides_the_colour() -> None:
    engine = FakeEngine()
    red, blue = (
        engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), no_step).frames
        for spec in (job_spec(prompt="red"), job_spec(prompt="blue"))
    )
    assert not np.array_equal(red, blue)


def test_the_engine_lets_an_interruption_through() -> None:
    def stop_at_two(step: int, _steps: int) -> None:
        if step == 2:
            raise Interrupted

    engine = FakeEngine()
    with pytest.raises(Interrupted):
        engine.next_chunk(job_spec(), engine.start(job_spec(), NO_INPUT_MEDIA), stop_at_two)


def test_a_longer_chunk_has_more_steps() -> None:
    seen: list[tuple[int, int]] = []
    engine = FakeEngine(steps_per_chunk=3)
    engine.next_chunk(
        job_spec(), engine.start(job_spec(), NO_INPUT_MEDIA), lambda step, steps: seen.append((step, steps))
    )
    assert seen == [(0, 3), (1, 3), (2, 3)]


def test_given_frames_are_the_first_chunk_and_the_field_of_the_next() -> None:
    engine, spec = FakeEngine(), job_spec()
    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    first = engine.next_chunk(spec, engine.start(spec, InputMedia(frames=frames)), no_step)
    second = engine.next_chunk(spec, EngineState.from_bytes(first.state.to_bytes()), no_step)
    assert np.array_equal(first.frames, frames)
    assert np.array_equal(second.frames[0, -1, -1], frames[-1, -1, -1])
    assert "given_frames" not in first.state.arrays


def test_an_input_image_of_any_size_may_be_used() -> None:
    engine, spec = FakeEngine(), job_spec()
    image = np.full((20, 90, 3), (9, 99, 199), dtype=np.uint8)
    chunk = engine.next_chunk(spec, engine.start(spec, InputMedia(image=image)), no_step)
    assert chunk.frames[5, -1, -1].tolist() == [9, 99, 199]


def test_objects_are_given_in_pieces_and_looked_up() -> None:
    storage = FakeStorage()
    storage.put("uploads/a", bytes(2500), "video/mp4")
    assert [len(piece) for piece in storage.pieces("uploads/a")] == [1000, 1000, 500]
    assert storage.look_up("uploads/a") == StoredObject(2500, "video/mp4")
    with pytest.raises(ObjectNotFound):
        storage.look_up("uploads/b")


@pytest.fixture
def queue() -> Queue:
    clock = FakeClock()
    return Queue(FakeJobStore(clock), clock)


class TestFakeSchedule(ScheduleContract):
    """Who is next, in memory."""


class TestFakeWork(WorkContract):
    """What waits, is being made and was made, in memory."""
