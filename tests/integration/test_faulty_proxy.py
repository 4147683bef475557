"""The fault-injecting proxy in front of a real Redis and the real S3 server: each fault is what a client sees."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from core.service.domain.errors import StorageError
from core.service.s3.storage import S3Storage
from core.service.settings import Settings
from tests.helpers.deadline import eventually
from tests.helpers.faulty_proxy import (
    LOOPBACK,
    PASS,
    REFUSE,
    SILENT,
    Behaviour,
    FaultyProxy,
    internal_error,
    slow_down,
    writes_refused,
)

TIMEOUT_SECONDS = 2.0
KEY = "jobs/job_a/chunks/00000.mp4"
BODY = bytes(range(256)) * 2000


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def proxy(redis_server: EmbeddedRedis) -> Iterator[FaultyProxy]:
    with FaultyProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultyProxy) -> Iterator[redis.Redis]:
    with impatient_client(proxy) as client:
        yield client


@contextmanager
def impatient_client(proxy: FaultyProxy) -> Generator[redis.Redis]:
    """One connection, no second try."""
    with redis.Redis(
        host=LOOPBACK,
        port=proxy.port,
        socket_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        single_connection_client=True,
    ) as client:
        yield client


@pytest.fixture
def s3_proxy(s3_server: EmbeddedS3) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3_server.port, http=True, seed=5) as proxy:
        yield proxy


@pytest.fixture
def storage(s3_server: EmbeddedS3, s3_proxy: FaultyProxy) -> S3Storage:
    return storage_at(s3_server, s3_proxy.port)


def storage_at(server: EmbeddedS3, port: int) -> S3Storage:
    settings = Settings(
        s3_endpoint_url=f"http://127.0.0.1:{port}",
        s3_access_key_id=server.access_key_id,
        s3_secret_access_key=SecretStr(server.secret_access_key),
    )
    storage = S3Storage(settings)
    storage.ensure_bucket()
    return storage


def raw_client(server: EmbeddedS3, proxy: FaultyProxy, attempts: int = 1) -> Any:
    """boto3; with one attempt each answer is seen."""
    import boto3.session
    from botocore.config import Config

    config = Config(
        retries={"total_max_attempts": attempts},
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
    )
    return boto3.session.Session(region_name="us-east-1").client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{proxy.port}",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=config,
    )


def codes_of(client: Any, tries: int) -> list[str]:
    """What `tries` PUTs are answered: S3's code, or "ok"."""
    from botocore.exceptions import ClientError

    answers: list[str] = []
    for _ in range(tries):
        try:
            client.put_object(Bucket="longtake", Key=KEY, Body=BODY)
            answers.append("ok")
        except ClientError as error:
            answers.append(error.response["Error"]["Code"])
    return answers


def test_it_passes_commands_of_many_connections(proxy: FaultyProxy) -> None:
    with redis.Redis(host=LOOPBACK, port=proxy.port) as client:
        client.set("key", "x" * 300_000)
        with client.pipeline() as pipe:
            for _ in range(50):
                pipe.get("key")
            assert [len(value) for value in pipe.execute()] == [300_000] * 50


def test_a_delay_holds_each_request_until_it_is_lifted(proxy: FaultyProxy, client: redis.Redis) -> None:
    client.ping()
    proxy.behave(Behaviour(delay_seconds=0.2))
    started = time.monotonic()
    client.ping()
    assert time.monotonic() - started >= 0.2
    proxy.behave(Behaviour(delay_seconds=10 * TIMEOUT_SECONDS))
    with pytest.raises(RedisTimeoutError):
        client.ping()
    proxy.behave(PASS)
    assert client.ping()


def test_a_silent_server_accepts_and_never_answers_until_it_is_lifted(proxy: FaultyProxy, client: redis.Redis) -> None:
    client.set("said", "before")
    proxy.behave(SILENT)
    with pytest.raises(RedisTimeoutError):
        client.set("said", "meanwhile")
    with pytest.raises(RedisTimeoutError), impatient_client(proxy) as other:
        other.ping()
    proxy.behave(PASS)
    assert client.ping()


def test_what_was_sent_while_it_was_silent_arrives_late(proxy: FaultyProxy) -> None:
    with redis.Redis(host=LOOPBACK, port=proxy.port, socket_timeout=20, single_connection_client=True) as client:
        client.ping()
        proxy.behave(SILENT)
        client.connection.send_command("SET", "late", "yes")  # pyright: ignore[reportOptionalMemberAccess]
        proxy.behave(PASS)
        assert client.connection.read_response() == b"OK"  # pyright: ignore[reportOptionalMemberAccess]
        assert client.get("late") == b"yes"


def test_a_refusing_proxy_resets_what_is_open_and_keeps_its_port(proxy: FaultyProxy, client: redis.Redis) -> None:
    client.ping()
    proxy.behave(REFUSE)
    with pytest.raises(RedisConnectionError):
        client.ping()
    with pytest.raises(RedisConnectionError, match="refused"), impatient_client(proxy) as other:
        other.ping()
    proxy.behave(PASS)
    with impatient_client(proxy) as other:
        assert other.ping()


def test_a_reset_hits_every_open_connection_and_no_later_one(proxy: FaultyProxy, client: redis.Redis) -> None:
    client.ping()
    assert proxy.reset_connections() == 1
    with pytest.raises(RedisConnectionError):
        client.ping()
    with impatient_client(proxy) as other:
        assert other.ping()
    eventually(lambda: proxy.num_connections == 0, "the proxy to forget closed connections")


def test_half_an_answer_ends_the_connection(proxy: FaultyProxy, client: redis.Redis) -> None:
    client.set("key", "x" * 1000)
    proxy.behave(Behaviour(cut_share=1.0))
    with pytest.raises(RedisError):
        client.get("key")
    proxy.behave(PASS)


def test_a_limited_rate_makes_large_answers_slow(redis_server: EmbeddedRedis, proxy: FaultyProxy) -> None:
    with redis.Redis(host=LOOPBACK, port=redis_server.port) as direct:
        direct.set("large", "x" * 50_000)
    with redis.Redis(host=LOOPBACK, port=proxy.port) as client:
        client.ping()
        proxy.behave(Behaviour(bytes_per_second=100_000))
        started = time.monotonic()
        client.get("large")
        assert time.monotonic() - started >= 0.4


def test_a_server_behind_it_that_is_down_looks_down(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path).start()
    with FaultyProxy(server.port) as proxy, impatient_client(proxy) as client:
        client.ping()
        server.stop()
        with pytest.raises(RedisConnectionError):
            client.ping()


def test_objects_pass_whole(storage: S3Storage) -> None:
    storage.put(KEY, BODY, "video/mp4")
    assert storage.get(KEY) == BODY
    assert list(storage.list("jobs/job_a/")) == [KEY]
    assert storage.delete_prefix("jobs/job_a/") == 1


def test_the_next_requests_get_slow_down(s3_server: EmbeddedS3, storage: S3Storage, s3_proxy: FaultyProxy) -> None:
    client = raw_client(s3_server, s3_proxy)
    s3_proxy.behave(Behaviour(canned=slow_down(requests=2)))
    assert codes_of(client, 4) == ["SlowDown", "SlowDown", "ok", "ok"]
    assert storage.get(KEY) == BODY


def test_a_share_of_requests_fails_and_a_seed_says_which(s3_server: EmbeddedS3, storage: S3Storage) -> None:
    del storage  # the bucket
    answers: list[list[str]] = []
    for _ in range(2):
        with FaultyProxy(s3_server.port, http=True, seed=11) as proxy:
            client = raw_client(s3_server, proxy)
            proxy.behave(Behaviour(canned=internal_error(share=0.5)))
            answers.append(codes_of(client, 12))
    assert answers[0] == answers[1]
    assert set(answers[0]) == {"InternalError", "ok"}


def test_a_client_that_tries_again_gets_through(
    s3_server: EmbeddedS3, storage: S3Storage, s3_proxy: FaultyProxy
) -> None:
    del storage  # the bucket
    client = raw_client(s3_server, s3_proxy, attempts=3)
    s3_proxy.behave(Behaviour(canned=slow_down(requests=2)))
    assert codes_of(client, 1) == ["ok"]


def test_a_read_only_bucket_refuses_writes_and_answers_reads(storage: S3Storage, s3_proxy: FaultyProxy) -> None:
    storage.put(KEY, BODY, "video/mp4")
    s3_proxy.behave(Behaviour(canned=writes_refused()))
    with pytest.raises(StorageError, match="AccessDenied"):
        storage.put(KEY, b"other", "video/mp4")
    with pytest.raises(StorageError):
        storage.delete_prefix(KEY)
    assert storage.get(KEY) == BODY
    s3_proxy.behave(PASS)
    storage.put(KEY, b"other", "video/mp4")
    assert storage.get(KEY) == b"other"


def test_an_object_is_never_read_in_part(storage: S3Storage, s3_proxy: FaultyProxy) -> None:
    storage.put(KEY, BODY, "video/mp4")
    s3_proxy.behave(Behaviour(cut_share=1.0))
    with pytest.raises(StorageError):
        storage.get(KEY)
    s3_proxy.behave(PASS)
    assert storage.get(KEY) == BODY
