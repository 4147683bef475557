"""The watchdog beside the overlap: a hung engine is noticed although a put waits for the object store, and a long wait
for the object store is no hang once the engine has nothing to do."""

from __future__ import annotations

import threading

import pytest

from core.service.domain.errors import StorageFull
from core.service.domain.manifest import chunk_key
from core.service.testing.storage import FakeStorage
from tests.helpers.activity import Monotonic, make_board, make_watchdog
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import JOB, KEEP_SECONDS, MODEL, World
from tests.helpers.generating import WAIT_SECONDS, NotingEngine
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import Outcome
from worker.runtime.server_retry import ServerCall
from worker.runtime.status import ProcessActivity, Watchdog

STALL_SECONDS = 11
"""Longer than the watchdog waits."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS", "CHECK_SECONDS"):
        monkeypatch.setattr(f"worker.runtime.server_retry.{name}", 0.01)


def maker(world: World, watchdog: Watchdog, engine: NotingEngine) -> ChunkMaker:
    activity = ProcessActivity(make_board()[1], watchdog)
    return ChunkMaker(world.services(), engine, MODEL, activity, keep_seconds=KEEP_SECONDS, in_background=ServerCall)


def test_an_engine_that_hangs_while_the_object_store_is_away_is_noticed(world: World) -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock)
    hangs, retried, over = threading.Event(), threading.Event(), threading.Event()
    stalled = list[float | None]()

    class Away(FakeStorage):
        def put(self, key: str, data: bytes, content_type: str) -> None:
            if key == chunk_key(JOB, 1) and not over.is_set():
                assert hangs.wait(WAIT_SECONDS)
                clock.now += STALL_SECONDS / 3
                if clock.now > began + 2 * STALL_SECONDS:
                    retried.set()
                raise StorageFull
            super().put(key, data, content_type)

    began = clock.now

    def at_step(index: int, step: int) -> None:
        if (index, step) == (2, 3):
            hangs.set()
            assert retried.wait(WAIT_SECONDS)
            stalled.append(watchdog.stalled_seconds())
            over.set()

    world.storage = Away()
    world.submit(num_frames=64)
    assert maker(world, watchdog, NotingEngine(at_step)).work() is Outcome.COMMITTED
    assert stalled[0] is not None
    assert stalled[0] > 2 * STALL_SECONDS


def test_an_object_store_that_is_away_longer_than_the_engine_needs_is_no_hang(world: World) -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock)
    chunk_2_made = threading.Event()
    refused = list[str]()

    class Away(FakeStorage):
        def put(self, key: str, data: bytes, content_type: str) -> None:
            if key == chunk_key(JOB, 1) and len(refused) < 5:
                assert chunk_2_made.wait(WAIT_SECONDS)
                eventually(lambda: watchdog.stalled_seconds() is None, "the sign of the attempt before")
                clock.now += STALL_SECONDS
                refused.append(key)
                raise StorageFull
            super().put(key, data, content_type)

    world.storage = Away()
    world.submit(num_frames=64)
    engine = NotingEngine(lambda index, step: chunk_2_made.set() if (index, step) == (2, 3) else None)
    assert maker(world, watchdog, engine).work() is Outcome.COMMITTED
    assert len(refused) == 5
