"""Each failure of an S3 server has one error class: a real server if it can be made to fail so, else canned ones."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cli.processes.embedded import EmbeddedS3
from cli.processes.machine import free_port
from core.service.domain.errors import (
    ObjectNotFound,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageReadOnly,
    StorageUnavailable,
)
from core.service.net.circuit_breaker import PAUSE_SECONDS, CircuitBreaker
from core.service.s3.storage import REQUEST, WORKER, S3Storage, Timeouts
from core.service.settings import Settings
from tests.helpers.canned_server import LOOPBACK, RESET, answering, http_answer, s3_error
from tests.helpers.deadline import eventually

PATIENT = Timeouts(connect_seconds=20.0, read_seconds=20.0, attempts=1)
IMPATIENT = Timeouts(connect_seconds=0.5, read_seconds=0.5, attempts=1)
"""For a server that says nothing; one that is only slow must be waited for."""
SLOW_DOWN = s3_error(503, "SlowDown", "Please reduce your request rate.")


def storage_at(
    port: int, breaker: CircuitBreaker | None = None, timeouts: Timeouts = PATIENT, **chosen: object
) -> S3Storage:
    settings = Settings(
        s3_endpoint_url=f"http://{LOOPBACK}:{port}",
        s3_access_key_id="key",
        s3_secret_access_key=SecretStr("secret"),
    ).model_copy(update=chosen)
    return S3Storage(settings, timeouts=timeouts, breaker=breaker)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def storage_of(
    server: EmbeddedS3, breaker: CircuitBreaker | None = None, timeouts: Timeouts = PATIENT, **chosen: object
) -> S3Storage:
    keys = {
        "s3_access_key_id": server.access_key_id,
        "s3_secret_access_key": SecretStr(server.secret_access_key),
    }
    return storage_at(server.port, breaker, timeouts, **{**keys, **chosen})


def timeouts_for(answer: bytes | None) -> Timeouts:
    return IMPATIENT if answer is None else PATIENT


def put(storage: S3Storage) -> None:
    storage.put("jobs/a", b"bytes", "text/plain")


def get(storage: S3Storage) -> None:
    storage.get("jobs/a")


def pieces(storage: S3Storage) -> None:
    list(storage.pieces("jobs/a"))


def listing(storage: S3Storage) -> None:
    list(storage.list("jobs/"))


def look_up(storage: S3Storage) -> None:
    storage.look_up("jobs/a")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (SLOW_DOWN, StorageUnavailable),
        (s3_error(429, "TooManyRequests"), StorageUnavailable),
        (s3_error(400, "ThrottlingException"), StorageUnavailable),
        (s3_error(500, "InternalError"), StorageUnavailable),
        (s3_error(400, "RequestTimeout"), StorageUnavailable),
        (s3_error(409, "OperationAborted"), StorageUnavailable),
        (http_answer(502, "<html>bad gateway</html>"), StorageUnavailable),
        (http_answer(503), StorageUnavailable),
        (http_answer(504, "not xml"), StorageUnavailable),
        (s3_error(507, "InsufficientStorage"), StorageFull),
        (s3_error(507, "XMinioStorageFull"), StorageFull),
        (s3_error(403, "QuotaExceeded"), StorageFull),
        (s3_error(500, "InternalError", "write x: no space left on device"), StorageFull),
        (s3_error(500, "InternalError", "open x: read-only file system"), StorageReadOnly),
        (s3_error(403, "AccessDenied"), StorageReadOnly),
        (s3_error(403, "InvalidAccessKeyId"), StorageMisconfigured),
        (s3_error(403, "SignatureDoesNotMatch"), StorageMisconfigured),
        (s3_error(403, "RequestTimeTooSkewed"), StorageMisconfigured),
        (s3_error(404, "NoSuchBucket"), StorageMisconfigured),
        (s3_error(405, "MethodNotAllowed"), StorageMisconfigured),
        (RESET, StorageUnavailable),
        (b"", StorageUnavailable),
        (b"HTTP/1.1 20", StorageUnavailable),
        (b"-ERR this is not HTTP\r\n", StorageUnavailable),
        (None, StorageUnavailable),
    ],
)  # fmt: skip
def test_every_answer_to_a_put_has_one_meaning(answer: bytes | None, kind: type[StorageError]) -> None:
    with answering(answer) as port, pytest.raises(StorageError) as raised:
        put(storage_at(port, timeouts=timeouts_for(answer)))
    assert type(raised.value) is kind, raised.value
    assert LOOPBACK not in raised.value.public_message
    assert "jobs/a" not in raised.value.public_message


@pytest.mark.parametrize("call", [get, pieces, listing, look_up], ids=lambda call: call.__name__)
@pytest.mark.parametrize(
    "answer", [SLOW_DOWN, RESET, b"HTTP/1.1 2", None], ids=["slow down", "reset", "half", "silent"]
)
def test_every_reading_call_names_an_outage(answer: bytes | None, call: Callable[[S3Storage], None]) -> None:
    with answering(answer) as port, pytest.raises(StorageUnavailable):
        call(storage_at(port, timeouts=timeouts_for(answer)))


@pytest.mark.parametrize("call", [get, pieces, listing], ids=lambda call: call.__name__)
def test_half_a_body_is_an_outage_and_no_object(call: Callable[[S3Storage], None]) -> None:
    with answering(http_answer(200, "<half", length=5000)) as port, pytest.raises(StorageUnavailable):
        call(storage_at(port))


def test_access_denied_to_a_reader_is_misconfigured() -> None:
    with answering(s3_error(403, "AccessDenied")) as port, pytest.raises(StorageMisconfigured):
        get(storage_at(port))


def test_a_large_file_that_does_not_fit_is_named_too(tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(bytes(20 * 2**20))
    for answer, kind in ((s3_error(507, "InsufficientStorage"), StorageFull), (SLOW_DOWN, StorageUnavailable)):
        with answering(answer) as port, pytest.raises(kind):
            storage_at(port).put_file("jobs/video", video, "video/mp4")


def test_one_object_of_a_batch_that_cannot_be_deleted_is_named() -> None:
    refused = "<DeleteResult><Error><Key>a</Key><Code>SlowDown</Code><Message>slow</Message></Error></DeleteResult>"
    entry = "<ListBucketResult><Contents><Key>jobs/a</Key></Contents></ListBucketResult>"
    with answering(http_answer(200, entry)) as port:
        storage = storage_at(port)
        with answering(http_answer(200, refused)) as other:
            assert list(storage.list("jobs/")) == ["jobs/a"]
            with pytest.raises(StorageUnavailable, match="slow"):
                storage_at(other).delete(["jobs/a"])


def test_wrong_addresses_are_distinguished_from_outages() -> None:
    with pytest.raises(StorageMisconfigured):
        put(storage_at(1, s3_endpoint_url="no url"))
    for away in (f"http://{LOOPBACK}:{free_port()}", "http://s3.invalid"):
        with pytest.raises(StorageUnavailable):
            put(storage_at(1, timeouts=IMPATIENT, s3_endpoint_url=away))


def test_wrong_keys_and_a_missing_bucket_are_misconfigured(server: EmbeddedS3) -> None:
    storage_of(server).ensure_bucket()
    wrongs: list[dict[str, Any]] = [
        {"s3_secret_access_key": SecretStr("x")},
        {"s3_access_key_id": "x"},
    ]
    for wrong in wrongs:
        for call in (put, get, listing):
            with pytest.raises(StorageMisconfigured):
                call(storage_of(server, **wrong))
    for call in (get, listing):
        with pytest.raises(StorageMisconfigured):
            call(storage_of(server, s3_bucket="nowhere"))
    with pytest.raises(ObjectNotFound):
        storage_of(server).get("jobs/none")


def test_an_object_that_is_stored_first_makes_its_bucket(server: EmbeddedS3) -> None:
    storage = storage_of(server, s3_bucket="not-made-yet")
    storage.put("jobs/a", b"data", "text/plain")
    assert storage.get("jobs/a") == b"data"


def test_a_server_that_ends_in_the_midst_of_its_answers_head_is_no_endless_loop() -> None:
    with answering(b"HTTP/1.1 100 Continue\r\n") as port, pytest.raises(StorageUnavailable):
        put(storage_at(port))


def test_a_request_knows_without_a_workers_patience_that_the_object_store_hangs(server: EmbeddedS3) -> None:
    assert REQUEST.connect_seconds + REQUEST.read_seconds < 2
    assert REQUEST.attempts == 1
    now = [0.0]
    storage = storage_of(server, CircuitBreaker(monotonic=lambda: now[0]), REQUEST)
    storage.ensure_bucket()
    put(storage)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            put(storage)
        assert time.monotonic() - began < WORKER.read_seconds, "one try, and no other"
        for _ in range(20):
            with pytest.raises(StorageUnavailable, match="a moment ago"):  # said without asking the server
                get(storage)
    finally:
        os.kill(server.pid, signal.SIGCONT)

    def answers() -> bool:
        now[0] += PAUSE_SECONDS
        try:
            put(storage)
        except StorageUnavailable:
            return False
        return True

    eventually(answers, "the breaker to let a call pass")


def test_many_threads_make_one_client(server: EmbeddedS3) -> None:
    """A first use in many threads at once: botocore's session is not safe for that."""
    storage, errors, start = storage_of(server), list[StorageError](), threading.Barrier(16)
    storage_of(server).ensure_bucket()

    def use() -> None:
        start.wait()
        try:
            storage.exists("jobs/none")
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
