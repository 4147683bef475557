"""Servers that fail, and leases that are lost, while a chunk is stored and the next one is made."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from core.service.domain.errors import StaleLease, StorageFull, StoreUnavailable
from core.service.domain.manifest import chunk_key, state_key
from core.service.domain.ports import Lease
from core.service.domain.schema import ChunkRecord, JobRecord, Lane
from core.service.testing.clock import FakeClock
from core.service.testing.job_store import FakeJobStore
from core.service.testing.storage import FakeStorage
from tests.helpers.background import AtOnce
from tests.helpers.fake_world import JOB, HookedStorage, World
from tests.helpers.generating import EVERY_ORDER, WAIT_SECONDS, NotingEngine, generate_lane
from worker.lanes.ahead import InBackground
from worker.lanes.lane import Outcome
from worker.runtime.server_retry import ServerCall


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
