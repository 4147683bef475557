"""A change of a job that Redis refuses is not begun; one in which a single step fails is otherwise done, and the error
says which step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from cli.processes.machine import LOOPBACK
from core.service.domain.errors import StoreDamaged, StoreError, StoreFull, StoreReadOnly
from core.service.domain.schema import JobStatus, Lane
from core.service.redis import keys
from core.service.redis.client import connect
from core.service.redis.errors import store_errors
from core.service.redis.job_store import RedisJobStore
from core.service.redis.transaction import Transactions
from core.service.testing.clock import FakeClock
from tests.helpers.jobs import chunk_of, queued_job
from tests.helpers.redis_server import RedisServer
from tests.helpers.store_contract.ports import ERROR

MODEL = queued_job().spec.model
LONG = 3600.0
ENTRIES = keys.entries_key(keys.ready_queue(Lane.GENERATE, MODEL))


def store_of(client: redis.Redis) -> RedisJobStore:
    return RedisJobStore(client, FakeClock(), retention_seconds=LONG)


def content(client: redis.Redis) -> dict[str, Any]:
    """Everything that is stored."""
    reads: dict[str, Callable[[str], object]] = {
        "string": client.get,
        "hash": client.hgetall,
        "set": client.smembers,
        "zset": lambda name: client.zrange(name, 0, -1, withscores=True),
        "list": lambda name: client.lrange(name, 0, -1),
        "stream": client.xrange,
    }
    return {name: reads[str(client.type(name))](name) for name in cast("list[str]", client.keys("*"))}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", "--save", "") as server:
        yield server


def full(server: RedisServer) -> None:
    server.set(maxmemory_policy="noeviction", maxmemory=1)


def replica(server: RedisServer) -> None:
    with server.client() as client:
        client.replicaof(LOOPBACK, "1")


def without_replicas(server: RedisServer) -> None:
    server.set(min_replicas_to_write=1)


STATES: dict[Callable[[RedisServer], None], type[StoreError]] = {
    full: StoreFull,
    replica: StoreReadOnly,
    without_replicas: StoreReadOnly,
}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_change_that_redis_refuses_is_not_begun(server: RedisServer, state: Callable[[RedisServer], None]) -> None:
    with connect(server.url()) as client:
        store = store_of(client)
        job = store.create(queued_job(1, num_frames=48).model_copy(update={"owner": "key_a"}))
        other = store.create(queued_job(2))
        lease = store.claim(job.id, Lane.GENERATE, "w1", LONG)
        assert lease
        chunk = chunk_of(job, 0)
        state(server)
        before = content(client)
        changes: list[Callable[[], object]] = [
            lambda: store.create(queued_job(3)),
            lambda: store.claim(other.id, Lane.GENERATE, "w2", LONG),
            lambda: store.commit_and_claim(lease, chunk, "f1", LONG),
            lambda: store.commit_chunk(lease, chunk, "f1"),
            lambda: store.fail(job.id, ERROR),
        ]
        for change in changes:
            with pytest.raises(StoreError) as raised:
                change()
            assert type(raised.value) is STATES[state]
            assert content(client) == before


def test_a_full_redis_removes_a_job_whole_or_not_at_all(server: RedisServer) -> None:
    """Removing needs no memory. Redis before 7 and some later ones queue nothing for a MULTI while they are full."""
    with connect(server.url()) as client:
        store = store_of(client)
        job = store.create(queued_job())
        before = content(client)
        full(server)
        try:
            store.purge(job.id)
        except StoreFull:
            assert content(client) == before
        else:
            left = content(client)
            assert not any(job.id in f"{name} {value}" for name, value in left.items())


def test_a_step_that_fails_keeps_no_other_from_being_done(client: redis.Redis) -> None:
    store = store_of(client)
    job = store.create(queued_job(num_frames=48))
    assert store.claim_next([Lane.GENERATE], MODEL, "w1", LONG)
    client.delete(keys.events_key(job.id))
    client.set(keys.events_key(job.id), "not a stream")
    with pytest.raises(StoreDamaged, match=f"WRONGTYPE.*XADD {keys.events_key(job.id)}") as raised:
        store.fail(job.id, ERROR)
    assert "EVALSHA" not in str(raised.value)
    assert store.get(job.id).status is JobStatus.FAILED
    listed = {status: client.zcard(keys.status_index(status)) for status in (JobStatus.RUNNING, JobStatus.FAILED)}
    assert listed == {JobStatus.RUNNING: 0, JobStatus.FAILED: 1}
    assert client.zcard(keys.EXPIRY) == 1
    assert client.hkeys(ENTRIES) == []


def test_a_step_inside_a_script_is_named_too(client: redis.Redis) -> None:
    store = store_of(client)
    client.set(ENTRIES, "not a hash")
    with pytest.raises(StoreDamaged, match=f"WRONGTYPE.*{ENTRIES}"):
        store.create(queued_job())
    assert client.zcard(keys.status_index(JobStatus.QUEUED)) == 1


def test_all_steps_that_fail_are_counted(client: redis.Redis) -> None:
    client.mset({"one": "no hash", "other": "no hash"})

    def write(pipe: Any) -> None:
        pipe.set("before", "1")
        pipe.hset("one", "field", "value")
        pipe.hset("other", "field", "value")
        pipe.set("after", "1")

    with pytest.raises(StoreDamaged, match=r"HSET one\), step 2 and 3 of 4; the others are done"), store_errors():
        Transactions(client).write(write)
    assert client.exists("before", "after") == 2


def test_what_follows_a_first_step_that_fails_is_not_done(client: redis.Redis) -> None:
    client.set("text", "not a hash")

    def write(pipe: Any) -> None:
        pipe.hset("text", "field", "value")
        pipe.set("other", "1")

    with pytest.raises(StoreDamaged, match=r"HSET text\), step 1 of 2; the others are left out"), store_errors():
        Transactions(client).write(write)
    assert not client.exists("other")


def test_a_change_that_is_refused_finds_out_that_its_server_is_no_master_now(server: RedisServer) -> None:
    """The connection is not used again: a new one may lead to the new master."""
    with connect(server.url()) as client:
        store = store_of(client)
        job = store.create(queued_job())
        before = client.client_id()
        assert client.client_id() == before
        replica(server)
        with pytest.raises(StoreReadOnly):
            store.fail(job.id, ERROR)
        assert client.client_id() != before
