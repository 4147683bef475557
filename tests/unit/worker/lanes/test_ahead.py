"""A worker that keeps a job makes its next chunk while one is encoded, stored and committed: same bytes, and nothing of
the next is seen or committed before the one."""

from __future__ import annotations

import threading

import pytest

from core.service.domain.manifest import chunk_key
from core.service.redis import queue
from core.service.testing.engines import FakeEngine
from core.service.testing.storage import FakeStorage
from tests.helpers.background import Late
from tests.helpers.fake_world import JOB, KEEP_SECONDS, MODEL, World
from tests.helpers.generating import EVERY_ORDER, WAIT_SECONDS, NotingEngine, objects_of
from tests.helpers.jobs import progress_of
from worker.lanes.ahead import InBackground
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import Outcome
from worker.runtime.server_retry import ServerCall
from worker.runtime.services import NoActivity


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
