"""The lease is renewed during work, and its loss is detected."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from core.service.domain.errors import Interrupted, StoreError
from core.service.domain.ports import Lease
from core.service.domain.schema import JobRecord, Lane
from core.service.testing.job_store import FakeJobStore
from tests.helpers.fake_world import JOB, World
from tests.helpers.jobs import chunk_of
from worker.lanes.lease_keeper import LeaseKeeper


class AwayStore(FakeJobStore):
    """A store that does not answer while `away` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.away = threading.Event()
        self.asked = threading.Event()

    def renew(self, lease: Lease, ttl_seconds: float) -> bool:
        self.asked.set()
        if self.away.is_set():
            raise StoreError
        return super().renew(lease, ttl_seconds)


def claimed(world: World) -> Lease:
    world.submit()
    lease = world.store.claim(JOB, Lane.GENERATE, "worker-1", 30)
    assert lease is not None
    return lease


def test_a_lease_is_renewed_while_the_keeper_runs(world: World) -> None:
    world.store = AwayStore()
    with LeaseKeeper(world.store, claimed(world), 0.03) as keeper:
        for _ in range(3):
            assert world.store.asked.wait(60)
            world.store.asked.clear()
        keeper.check()


def test_a_lease_taken_by_another_is_lost(world: World) -> None:
    lease = claimed(world)
    with LeaseKeeper(world.store, lease, 0.03) as keeper:
        world.clock.advance(31)
        world.store.claim(JOB, Lane.GENERATE, "worker-2", 1000)
        assert keeper.lost.wait(60)
        with pytest.raises(Interrupted, match="another worker"):
            keeper.check()


def test_a_job_deleted_and_removed_loses_its_lease(world: World) -> None:
    lease = claimed(world)
    with LeaseKeeper(world.store, lease, 0.03) as keeper:
        world.store.purge(JOB)
        assert keeper.lost.wait(60)


def test_a_store_that_is_away_for_longer_than_the_lease_takes_nothing_away(world: World) -> None:
    world.store = AwayStore()
    world.store.away.set()
    with LeaseKeeper(world.store, claimed(world), 0.03) as keeper:
        for _ in range(5):
            assert world.store.asked.wait(60)
            world.store.asked.clear()
        keeper.check()
        world.store.away.clear()
        world.store.asked.clear()
        assert world.store.asked.wait(60)
        keeper.check()
        assert world.store.lease_alive(JOB, Lane.GENERATE)


def test_a_lane_that_is_kept_with_a_commit_is_renewed_under_the_new_token(world: World) -> None:
    store = world.store = AwayStore()
    lease = claimed(world)
    with LeaseKeeper(store, lease, 0.03) as keeper:

        def commit() -> JobRecord:
            committed = store.commit_and_claim(lease, chunk_of(store.get(JOB), 0), "f1", 30)
            store.asked.clear()
            assert not store.asked.wait(0.1), "a renewal of the old lease in the midst of the commit"
            return committed

        keeper.committing(commit)
        assert keeper.lease == replace(lease, token=lease.token + 1)
        for _ in range(2):
            assert store.asked.wait(60)
            store.asked.clear()
        keeper.check()


def test_a_lane_that_was_kept_without_an_answer_is_renewed_under_the_old_token(world: World) -> None:
    store = world.store = AwayStore()
    lease = claimed(world)
    with LeaseKeeper(store, lease, 0.03) as keeper:

        def commit() -> JobRecord:
            store.commit_and_claim(lease, chunk_of(store.get(JOB), 0), "f1", 30)
            raise StoreError

        with pytest.raises(StoreError):
            keeper.committing(commit)
        for _ in range(3):
            store.asked.clear()
            assert store.asked.wait(60)
        keeper.check()
        store.release(keeper.lease, count_attempt=False)
        assert not store.lease_alive(JOB, Lane.GENERATE)
