"""A store and an object store that are away cost the generate lane only waiting."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from core.service.domain.errors import StorageFull, StoreUnavailable
from core.service.domain.manifest import chunk_key
from core.service.domain.ports import Lease
from core.service.domain.schema import ChunkRecord, JobRecord, JobStatus, Lane
from core.service.testing.job_store import FakeJobStore
from core.service.testing.storage import FakeStorage
from tests.helpers.fake_world import JOB, HookedEngine, World
from tests.helpers.generating import attempts
from worker.lanes.lane import Outcome


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
