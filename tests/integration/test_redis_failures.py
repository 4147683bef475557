"""Each failure of a real Redis has one error class, through plain calls, transactions and scripts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from cli.processes.machine import LOOPBACK
from core.service.clock import SystemClock
from core.service.domain.errors import (
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreReadOnly,
    StoreUnavailable,
)
from core.service.domain.schema import JobRecord, JobStatus, Lane
from core.service.net.circuit_breaker import PAUSE_SECONDS, CircuitBreaker
from core.service.redis import keys
from core.service.redis.client import REQUEST, WORKER, Timeouts, connect
from core.service.redis.errors import raises_store_errors, store_errors
from core.service.redis.job_store import RedisJobStore
from tests.helpers.canned_server import answering
from tests.helpers.deadline import eventually
from tests.helpers.jobs import job_spec
from tests.helpers.redis_server import RedisServer

PATIENT = Timeouts(connect_seconds=20.0, read_seconds=20.0, retries=0)
IMPATIENT = Timeouts(connect_seconds=1.0, read_seconds=1.0, retries=0)
"""For a server that says nothing; one that is only slow must be waited for."""
SCRIPT = "return redis.call('SET', KEYS[1], ARGV[1])"
Call = Callable[[redis.Redis], object]


def plain(client: redis.Redis) -> object:
    return client.set("key", "value")


def transaction(client: redis.Redis) -> object:
    with client.pipeline() as pipe:
        pipe.set("key", "OOM READONLY MISCONF: words of a client")
        pipe.hset("hash", "field", "value")
        return pipe.execute()


def watched(client: redis.Redis) -> object:
    with client.pipeline() as pipe:
        pipe.watch("key")
        pipe.get("key")
        pipe.multi()
        pipe.set("key", "value")
        return pipe.execute()


def batch(client: redis.Redis) -> object:
    with client.pipeline(transaction=False) as pipe:
        pipe.set("key", "value")
        pipe.set("key", "value")
        return pipe.execute()


def script(client: redis.Redis) -> object:
    return client.register_script(SCRIPT)(keys=["key"], args=["value"])


def job(client: redis.Redis) -> object:
    store = RedisJobStore(client, SystemClock(), retention_seconds=60)
    return store.create(JobRecord(id="job_a", status=JobStatus.QUEUED, spec=job_spec(), created_at=SystemClock().now()))


CALLS: tuple[Call, ...] = (plain, transaction, watched, batch, script, job)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", "--save", "", "--rdbcompression", "no") as server:
        yield server


def full(server: RedisServer) -> AbstractContextManager[None]:
    server.set(maxmemory_policy="noeviction", maxmemory=1)
    return nullcontext()


def replica(server: RedisServer) -> AbstractContextManager[None]:
    with server.client() as client:
        client.replicaof(LOOPBACK, "1")
    return nullcontext()


def without_replicas(server: RedisServer) -> AbstractContextManager[None]:
    server.set(min_replicas_to_write=1)
    return nullcontext()


def unable_to_save(server: RedisServer) -> AbstractContextManager[None]:
    """The file of its snapshot is a folder."""
    server.kill()
    server.start("--dbfilename", "snapshots")
    server.set(save="3600 1")
    (server.folder / "snapshots").mkdir()
    with server.client() as client:
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "a failed save")
    return nullcontext()


def version_of(server: RedisServer) -> int:
    with server.client() as client:
        return int(str(client.info("server")["redis_version"]).split(".")[0])


def out_of_disk(server: RedisServer) -> AbstractContextManager[None]:
    """Its append-only file is a device that has no room."""
    one_file = version_of(server) < 7
    server.kill()
    file = server.folder / ("appendonly.aof" if one_file else "appendonlydir/appendonly.aof.1.incr.aof")
    file.parent.mkdir(exist_ok=True)
    file.symlink_to("/dev/full")
    server.start("--appendonly", "yes", "--appendfsync", "everysec")
    with server.client() as client:
        client.set("key", "the first write that fails")
        eventually(lambda: client.info("persistence")["aof_last_write_status"] == "err", "a failed write")
    return nullcontext()


def killed(server: RedisServer) -> AbstractContextManager[None]:
    server.kill()
    return nullcontext()


def locked(server: RedisServer) -> AbstractContextManager[None]:
    server.set(requirepass="secret")
    with server.client(password="secret") as client:
        client.client_kill_filter(_type="normal", skipme=True)
    return nullcontext()


def without_rights(server: RedisServer) -> AbstractContextManager[None]:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-@write", "-@scripting", "-@transaction")
    return nullcontext()


STATES: dict[Callable[[RedisServer], AbstractContextManager[None]], type[StoreError]] = {
    full: StoreFull,
    replica: StoreReadOnly,
    without_replicas: StoreReadOnly,
    unable_to_save: StoreReadOnly,
    out_of_disk: StoreFull,
    RedisServer.frozen: StoreUnavailable,
    RedisServer.busy: StoreUnavailable,
    killed: StoreUnavailable,
    locked: StoreMisconfigured,
    without_rights: StoreMisconfigured,
}


def test_a_closed_client_leaves_no_connection(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url(), decode_responses=True) as observer:
        with connect(server.url()) as client:
            client.client_setname("to-be-closed")
            assert "to-be-closed" in [each["name"] for each in observer.client_list()]
        eventually(lambda: "to-be-closed" not in [each["name"] for each in observer.client_list()], "its end")


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_every_failure_of_redis_has_one_meaning_through_every_kind_of_call(
    server: RedisServer, state: Callable[[RedisServer], AbstractContextManager[None]]
) -> None:
    timeouts = IMPATIENT if state is RedisServer.frozen else PATIENT
    used = connect(server.url(), timeouts)
    for call in CALLS[:-1]:
        call(used)
    with state(server):
        for call in CALLS:
            if call is script and state is without_replicas and version_of(server) < 7:
                assert call(used) == "OK"  # Redis 6.2 lets scripts write with too few replicas
                continue
            for client in (used, connect(server.url(), timeouts)):
                with pytest.raises(StoreError) as raised, store_errors():
                    call(client)
                assert type(raised.value) is STATES[state], (call.__name__, raised.value)
                assert raised.value.fix
                assert LOOPBACK not in raised.value.public_message
        connect(server.url(), PATIENT).close()


def test_the_store_answers_while_its_redis_does(server: RedisServer) -> None:
    store = RedisJobStore(connect(server.url(), PATIENT), SystemClock(), retention_seconds=60)
    store.ping()
    server.kill()
    with pytest.raises(StoreUnavailable):
        store.ping()


def test_a_redis_that_still_loads_its_data_is_away(server: RedisServer) -> None:
    with server.client() as client:
        for number in range(160):
            client.set(f"key:{number}", "x" * 2**19)
        client.save()
    server.kill()
    server.start("--key-load-delay", "50000")  # microseconds; it answers between two keys
    for call in (plain, transaction):
        with pytest.raises(StoreUnavailable, match="loading"), store_errors():
            call(connect(server.url(), PATIENT))


def test_a_replica_that_has_lost_its_master_is_away(server: RedisServer) -> None:
    server.set(replica_serve_stale_data="no")
    with replica(server), pytest.raises(StoreUnavailable), store_errors():
        connect(server.url(), PATIENT).get("key")


def test_a_wrong_password_is_misconfigured(server: RedisServer) -> None:
    server.set(requirepass="secret")
    with pytest.raises(StoreMisconfigured), store_errors():
        connect(server.url(login=":wrong@"), PATIENT).ping()


def test_a_database_that_is_not_there_is_misconfigured(server: RedisServer) -> None:
    with pytest.raises(StoreMisconfigured), store_errors():
        connect(server.url(99), PATIENT).ping()


def test_a_url_that_cannot_be_read_is_misconfigured() -> None:
    for url in ("http://127.0.0.1:1/0", "sentinel://127.0.0.1:1/0", "sentinel://127.0.0.1:1/x?master=main"):
        with pytest.raises(StoreMisconfigured):
            connect(url)


def test_a_key_of_another_type_is_damage(server: RedisServer) -> None:
    client = connect(server.url(), PATIENT)
    client.set(keys.job_key("job_a"), "not a hash")
    store = RedisJobStore(client, SystemClock(), retention_seconds=60)
    with pytest.raises(StoreDamaged):
        store.get("job_a")


def test_a_value_that_is_no_text_is_damage(server: RedisServer) -> None:
    with server.client() as bare:
        bare.execute_command("HSET", keys.job_key("job_a"), "record", b"\xff\xfe")
    with pytest.raises(StoreDamaged):
        RedisJobStore(connect(server.url()), SystemClock(), retention_seconds=60).get("job_a")


def test_a_host_without_an_address_is_away() -> None:
    with pytest.raises(StoreUnavailable), store_errors():
        connect("redis://redis.invalid:6379/0", IMPATIENT).ping()


def test_more_connections_than_the_pool_has_is_away(server: RedisServer) -> None:
    client = connect(server.url(), replace(PATIENT, max_connections=1))
    waiting = threading.Thread(target=lambda: client.blpop(["released"], timeout=60))
    waiting.start()
    with server.client() as bare:
        eventually(lambda: any(one["cmd"] == "blpop" for one in bare.client_list()), "the only connection to be used")
        with pytest.raises(StoreUnavailable, match="too many"), store_errors():
            client.ping()
        bare.lpush("released", "now")
    waiting.join()


@pytest.mark.parametrize(
    "answer", [b"", b"+PO", b"$100\r\nhalf", b"*3\r\n$1\r\na", b"HTTP/1.1 400 Bad\r\n\r\n", b"\x00\xff"]
)
def test_half_an_answer_or_a_strange_one_is_away(answer: bytes) -> None:
    with answering(answer) as port, pytest.raises(StoreUnavailable), store_errors():
        connect(f"redis://{LOOPBACK}:{port}/0", PATIENT).ping()


def test_a_generator_has_named_errors_too() -> None:
    @raises_store_errors
    def rows(client: redis.Redis) -> Iterator[object]:
        yield 1
        yield client.get("key")

    found = rows(connect("redis://127.0.0.1:1/0", PATIENT))
    assert next(found) == 1
    with pytest.raises(StoreUnavailable):
        next(found)


def test_the_new_server_behind_the_same_address_is_found_after_a_failover(tmp_path: Path) -> None:
    """The old master becomes a replica; connections to it lead to the new one as soon as they are made anew."""
    with RedisServer(tmp_path / "old", "--save", "") as old, RedisServer(tmp_path / "new", "--save", "") as new:
        with forwarding(old.port, new.port) as (port, fail_over):
            client = connect(f"redis://{LOOPBACK}:{port}/0", REQUEST)
            with client.pipeline() as held:  # a second connection, which lies idle afterwards
                held.watch("key")
                client.set("key", "value")
            fail_over()
            with old.client() as bare:
                bare.replicaof(LOOPBACK, str(new.port))
            with pytest.raises(StoreReadOnly), store_errors():
                client.set("key", "first")
            client.set("key", "second")
            transaction(client)
            client.close()
        with new.client() as bare:
            assert bare.get("hash") is None if bare.type("hash") == "none" else bare.hget("hash", "field") == "value"


@contextmanager
def forwarding(first: int, second: int) -> Generator[tuple[int, Callable[[], None]]]:
    """An address whose new connections lead to port `first`, and to `second` after a call of the function given."""
    target = [first]
    sockets: list[socket.socket] = []
    with socket.create_server((LOOPBACK, 0)) as listener:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve() -> None:
            while True:
                try:
                    near, _ = listener.accept()
                    far = socket.create_connection((LOOPBACK, target[0]))
                except OSError:
                    return
                sockets.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], lambda: target.__setitem__(0, second)
        listener.shutdown(socket.SHUT_RDWR)
        for one in sockets:
            one.close()


def test_a_request_knows_without_a_workers_patience_that_redis_hangs(server: RedisServer) -> None:
    assert REQUEST.connect_seconds + REQUEST.read_seconds < 2
    assert not REQUEST.retry_timeouts
    now = [0.0]
    client = connect(server.url(), REQUEST, CircuitBreaker(monotonic=lambda: now[0]))
    store = RedisJobStore(client, SystemClock(), retention_seconds=60)
    store.ping()
    with server.frozen():
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.count_active()
        assert time.monotonic() - began < WORKER.read_seconds, "one try, and no other"
        for _ in range(20):
            with pytest.raises(StoreUnavailable, match="a moment ago"):  # said without asking the server
                store.ping()

    def answers() -> bool:
        now[0] += PAUSE_SECONDS
        return _answers(store)

    eventually(answers, "the breaker to let a call pass")


def _answers(store: RedisJobStore) -> bool:
    try:
        store.ping()
    except StoreUnavailable:
        return False
    return store.lease_alive("job_a", Lane.GENERATE) is False
