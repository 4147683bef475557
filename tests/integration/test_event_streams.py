"""Event streams by the thousand on one API process: all get every event, and other requests are not slowed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from benchmarks.listeners import Listeners
from benchmarks.streams import MAX_MORE_MEGABYTES, SimulatedWorker, measure_listeners
from cli.processes.child import Child
from tests.helpers.customers import ADMIN_KEY, bearer
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service
from tests.helpers.slow_clients import slow_connection

LISTENERS = 2000
WITH_KEYS = 300
STREAMS_OF_ONE = 2100
PATIENCE_SECONDS = 300.0
"""A client that takes nothing is kept for so long: whoever waits for its end fails the test."""
STALL_SECONDS = 8.0
"""The same where that end is what the test is about."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Servers and API, no worker."""
    folder = tmp_path_factory.mktemp("streams")
    write_fake_preset(folder / "presets", "fake")
    limits = {"max_event_streams": 3000, "max_event_streams_per_address": STREAMS_OF_ONE}
    patience = {"media_stall_seconds": PATIENCE_SECONDS}
    service = Service(folder, folder / "presets", default_model="fake", **limits, **patience)
    try:
        service.start_servers()
        service.storage().ensure_bucket()
        yield service
        assert "Traceback" not in service.logs(lines=10_000)
    finally:
        service.close()


@pytest.fixture
def api(service: Service) -> Iterator[Child]:
    """Started anew for each test: memory and open files are the process's."""
    child = service.start_api()
    yield child
    service.stop(child)


@pytest.mark.timeout(600)
def test_two_thousand_listeners_get_all_events(service: Service, api: Child, tmp_path: Path) -> None:
    """On one job: each event once (checked by what measures them). How long other routes take meanwhile is a benchmark:
    `python -m benchmarks --only streams`."""
    followed, spare = (service.submit(num_frames=16 * 200).id for _ in range(2))
    worker = SimulatedWorker(service.settings.redis_url)
    found = measure_listeners(
        api.pid, service.api_port, worker, [followed], spare, tmp_path, rounds=1, listeners=LISTENERS
    )
    assert found.more_megabytes <= MAX_MORE_MEGABYTES


def keyed_job(service: Service, name: str) -> tuple[str, str]:
    """A new API key, and a job of it."""
    made = service.http.post("/keys", json={"name": name}, headers=bearer(ADMIN_KEY))
    key = str(made.json()["key"])
    return key, submitted(service, key)


def submitted(service: Service, key: str) -> str:
    body = {"prompt": "a red circle", "num_frames": 16 * 200}
    return str(service.http.post("/jobs", json=body, headers=bearer(key)).json()["id"])


@pytest.mark.timeout(600)
def test_listeners_with_keys_get_all_events(service: Service, tmp_path: Path) -> None:
    """Of three customers, each with a job of its own."""
    service.choose(admin_key=SecretStr(ADMIN_KEY))
    api = service.start_api()
    try:
        keys, jobs = zip(*(keyed_job(service, name) for name in ("one", "two", "three")), strict=True)
        spare, worker = submitted(service, keys[0]), SimulatedWorker(service.settings.redis_url)
        measure_listeners(
            api.pid, service.api_port, worker, jobs, spare, tmp_path, rounds=1, listeners=WITH_KEYS, keys=keys
        )
    finally:
        service.stop(api)
        service.choose(admin_key=None)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("api")
def test_two_thousand_jobs_are_followed_by_one_connection(service: Service, tmp_path: Path) -> None:
    worker = SimulatedWorker(service.settings.redis_url)
    job_ids = worker.copies_of(service.submit(num_frames=16 * 200).id, LISTENERS)
    with service.redis() as redis, Listeners(service.api_port, LISTENERS, job_ids, tmp_path) as following:
        following.wait_until_all_listen()
        assert redis.info("clients")["blocked_clients"] <= 1
        assert service.http.get("/readyz").status_code == 200
        worker.make_chunk(job_ids[7])
        for job_id in job_ids:
            worker.end(job_id)
        heard = following.report()
    assert not heard.failures
    assert sorted(heard.ids) == [[["1-0", "2-0"], LISTENERS - 1], [["1-0", "2-0", "3-0", "4-0"], 1]]


def listener(service: Service, job_id: str) -> socket.socket:
    """A stream that has begun, as a raw socket."""
    opened = socket.create_connection(("127.0.0.1", service.api_port), timeout=30)
    opened.sendall(f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = b""
    while b"id: " not in received:
        more = opened.recv(4096)
        assert more, received
        received += more
    return opened


def test_clients_that_leave_free_everything_without_a_word(service: Service, api: Child) -> None:
    process, job_id = psutil.Process(api.pid), service.submit(num_frames=16).id
    listener(service, job_id).close()
    files, threads = process.num_fds(), process.num_threads()
    with ExitStack() as streams:
        for _ in range(200):
            streams.enter_context(listener(service, job_id))
        assert process.num_fds() >= files + 200
        assert process.num_threads() <= threads + 10
    eventually(lambda: process.num_fds() <= files + 10, "the sockets to be closed")
    assert "Traceback" not in service.logs(lines=1000)


@pytest.mark.usefixtures("api")
def test_a_client_that_never_reads_delays_no_other(service: Service) -> None:
    job_id = service.submit(num_frames=16 * 400).id
    worker = SimulatedWorker(service.settings.redis_url)
    with listener(service, job_id), listener(service, job_id) as other:
        for _ in range(300):
            worker.make_chunk(job_id)
        received = b""
        while b"\nid: 302-0\n" not in received:
            received += other.recv(1 << 20)  # within the socket's timeout, which is less than a stalled client is given
        assert service.http.get("/healthz").status_code == 200


def test_the_slot_of_a_client_that_never_reads_is_released(service: Service) -> None:
    service.choose(media_stall_seconds=STALL_SECONDS, max_event_streams_per_address=1)
    api = service.start_api()
    try:
        job_id, worker = service.submit(num_frames=16 * 400).id, SimulatedWorker(service.settings.redis_url)
        for _ in range(400):
            worker.make_chunk(job_id)
        with slow_connection(service.api_port) as deaf:
            deaf.sendall(f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert deaf.recv(12) == b"HTTP/1.1 200"
            assert status_of_stream(service, job_id) == 429
            eventually(lambda: status_of_stream(service, job_id) == 200, "the place to be free")
    finally:
        service.stop(api)
        service.choose(media_stall_seconds=PATIENCE_SECONDS, max_event_streams_per_address=STREAMS_OF_ONE)
    assert "completing response" not in service.logs(lines=1000)


def status_of_stream(service: Service, job_id: str) -> int:
    with service.http.stream("GET", f"/jobs/{job_id}/events") as answer:
        return answer.status_code


def test_a_server_that_stops_ends_thousands_of_streams_at_once(service: Service, tmp_path: Path) -> None:
    api = service.start_api(grace_seconds=600)
    try:
        job_id = service.submit(num_frames=16).id
        with Listeners(service.api_port, 1000, [job_id], tmp_path) as following:
            following.wait_until_all_listen()
            service.stop(api)
            assert "signal 9" not in str(api.ending()), "it waited for its streams, and was killed"
            assert following.report().ids == [[["1-0"], 1000]]
    finally:
        service.stop(api)
