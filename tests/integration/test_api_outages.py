"""A backend of the API is away: routes that need it answer 503 while it still is, others as usual, under any load."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.redis_server import demoted, full, unable_to_save
from tests.helpers.service import Service, running_service

LIMIT_SECONDS = 12.0
"""Less than a worker waits for one answer of Redis (15 s) or S3 (20 s). The outage lasts until all have theirs."""
CROWD = 120
CROWD_LIMIT_SECONDS = 30.0
"""So long the client of these tests waits for an answer. With a worker's patience, and no breaker, the requests of a
crowd would wait in threads one after the other for a minute and more."""
INDEPENDENT = ("/healthz", "/openapi.json", "/docs", "/problems/store_unavailable", "/")
JOB = {"model": "fake", "prompt": "a red square", "num_frames": 16}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Servers and API, no worker; each test leaves the servers well."""
    folder = tmp_path_factory.mktemp("api")
    write_fake_preset(folder / "presets", "fake")
    with running_service(folder, folder / "presets", default_model="fake") as service:
        service.storage().ensure_bucket()
        is_ready(service)
        yield service


def is_ready(service: Service) -> None:
    """Also for requests: an answer of /readyz may be a second old."""
    paths = ("/jobs", "/readyz")
    eventually(lambda: all(service.http.get(path).status_code == 200 for path in paths), "the API to be ready")


@contextmanager
def frozen(pid: int) -> Generator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def redis_hangs(service: Service) -> Generator[None]:
    with frozen(service.redis_server.pid):
        yield


@contextmanager
def redis_gone(service: Service) -> Generator[None]:
    service.redis_server.stop()
    try:
        yield
    finally:
        service.redis_server.start()


@contextmanager
def redis_full(service: Service) -> Generator[None]:
    with service.redis() as client, full(client):
        yield


@contextmanager
def redis_demoted(service: Service) -> Generator[None]:
    with service.redis() as client, demoted(client):
        yield


@contextmanager
def redis_cannot_save(service: Service) -> Generator[None]:
    with service.redis() as client, unable_to_save(client):
        yield


@contextmanager
def storage_hangs(service: Service) -> Generator[None]:
    with frozen(service.s3_server.pid):
        yield


@contextmanager
def storage_gone(service: Service) -> Generator[None]:
    service.s3_server.stop()
    try:
        yield
    finally:
        service.s3_server.start()


Outage = Callable[[Service], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("outage", "code", "reading_too"),
    [
        (redis_hangs, "store_unavailable", True),
        (redis_gone, "store_unavailable", True),
        (redis_full, "store_full", False),
        (redis_demoted, "store_read_only", False),
        (redis_cannot_save, "store_read_only", False),
    ],
)
def test_only_routes_that_need_redis_answer_503(service: Service, outage: Outage, code: str, reading_too: bool) -> None:
    job_id = service.submit(num_frames=16).id
    needing = [("POST", "/jobs"), ("POST", f"/jobs/{job_id}/cancel")]
    reading = [("GET", "/jobs"), ("GET", f"/jobs/{job_id}"), ("GET", "/models"), ("GET", f"/jobs/{job_id}/events")]
    with outage(service):
        for method, path in [*needing, *(reading if reading_too else [])]:
            began = time.monotonic()
            answer = service.http.request(method, path, json=JOB if path == "/jobs" and method == "POST" else None)
            assert time.monotonic() - began < LIMIT_SECONDS
            assert (answer.status_code, answer.json()["code"]) == (503, code), (path, answer.text)
            assert int(answer.headers["Retry-After"]) > 0
            assert "127.0.0.1" not in answer.text
        for path in INDEPENDENT:
            assert service.http.get(path).status_code == 200
    is_ready(service)
    assert service.job(job_id).id == job_id
    assert service.http.post(f"/jobs/{job_id}/cancel").status_code == 202


@pytest.mark.parametrize("outage", [storage_hangs, storage_gone])
def test_a_job_that_cannot_be_stored_whole_is_refused_and_leaves_nothing(service: Service, outage: Outage) -> None:
    """A manifest belongs to every job that was accepted."""
    job_id = service.submit(num_frames=16).id
    before = service.http.get("/jobs").json()["jobs"]
    with outage(service):
        for _ in range(3):
            began = time.monotonic()
            answer = service.http.post("/jobs", json=JOB)
            assert time.monotonic() - began < LIMIT_SECONDS
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        assert service.job(job_id).id == job_id
    is_ready(service)
    assert [job["id"] for job in service.http.get("/jobs").json()["jobs"]] == [job["id"] for job in before]


@pytest.mark.parametrize(
    "outage",
    [redis_hangs, redis_gone, redis_full, redis_demoted, redis_cannot_save, storage_hangs, storage_gone],
)
def test_readiness_says_during_an_outage_what_is_wrong(service: Service, outage: Outage) -> None:
    with outage(service):
        server = "redis" if "redis" in outage.__name__ else "storage"
        slowest = 0.0

        def said() -> bool:
            nonlocal slowest
            began = time.monotonic()
            answer = service.http.get("/readyz")
            slowest = max(slowest, time.monotonic() - began)
            check = answer.json()[server]
            return answer.status_code == 503 and not check["ok"] and bool(check["reason"])

        eventually(said, "not ready")
        assert slowest < LIMIT_SECONDS
    is_ready(service)


@pytest.mark.parametrize("outage", [redis_hangs, storage_hangs])
def test_many_clients_during_an_outage_leave_threads_for_other_requests(service: Service, outage: Outage) -> None:
    """Probes and requests for all routes at once, more than the API has threads."""
    job_id = service.submit(num_frames=16).id
    paths = ("/readyz", f"/jobs/{job_id}", "/jobs", "/models", "/docs", "/healthz")

    def ask(number: int) -> tuple[str, int, float]:
        path = paths[number % len(paths)]
        began = time.monotonic()
        status = service.http.get(path).status_code
        return path, status, time.monotonic() - began

    with outage(service), ThreadPoolExecutor(CROWD) as crowd:
        answers = [*crowd.map(ask, range(CROWD)), *crowd.map(ask, range(CROWD))]
    for path, status, seconds in answers:
        assert status in {200, 503}, path
        assert seconds < CROWD_LIMIT_SECONDS, path
        if path in INDEPENDENT:
            assert status == 200
    if outage is storage_hangs:
        assert {status for path, status, _ in answers if path != "/readyz"} == {200}
    is_ready(service)


def test_a_stream_survives_an_outage_of_redis(service: Service) -> None:
    job_id = service.submit(num_frames=16).id
    told = list[str]()
    listening = threading.Thread(target=_listen, args=(service, job_id, told))
    listening.start()
    eventually(lambda: any("job.queued" in line for line in told), "the first event")
    with redis_gone(service):
        eventually(lambda: service.http.get(f"/jobs/{job_id}").status_code == 503, "the outage to show")
    is_ready(service)
    service.http.post(f"/jobs/{job_id}/cancel")
    eventually(lambda: any("job.canceled" in line for line in told), "the last event")
    listening.join()


def test_a_browser_that_reconnects_during_an_outage_gets_a_stream_that_waits(service: Service) -> None:
    job_id = service.submit(num_frames=16).id
    told = list[str]()
    with redis_hangs(service):
        listening = threading.Thread(target=_listen, args=(service, job_id, told, {"Accept": "text/event-stream"}))
        listening.start()
        eventually(lambda: "retry: 2000" in told, "the stream to begin")
    eventually(lambda: any("job.queued" in line for line in told), "the first event")
    is_ready(service)
    service.http.post(f"/jobs/{job_id}/cancel")
    listening.join()
    assert any("job.canceled" in line for line in told)


def _listen(service: Service, job_id: str, told: list[str], headers: dict[str, str] | None = None) -> None:
    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream("GET", f"http://127.0.0.1:{service.api_port}/jobs/{job_id}/events", headers=headers) as answer,
    ):
        for line in answer.iter_lines():
            told.append(line)


def test_more_streams_than_a_pool_of_old_had_connections(service: Service) -> None:
    """150 listeners, and a job that is read beside them as quickly as ever."""
    job_id = service.submit(num_frames=16).id
    told = [list[str]() for _ in range(150)]
    threads = [threading.Thread(target=_listen, args=(service, job_id, one)) for one in told]
    for thread in threads:
        thread.start()
    eventually(lambda: all(any("job.queued" in line for line in one) for one in told), "all to listen")
    assert service.http.get(f"/jobs/{job_id}").status_code == 200
    assert service.http.get("/readyz").status_code == 200
    service.http.post(f"/jobs/{job_id}/cancel")
    eventually(lambda: all(any("job.canceled" in line for line in one) for one in told), "all to hear it")
    for thread in threads:
        thread.join()


def test_an_answer_that_was_cut_by_a_restart_is_not_a_500(tmp_path: Path) -> None:
    """Redis is killed and started again and again while jobs are read and submitted."""
    write_fake_preset(tmp_path / "presets", "fake")
    with running_service(tmp_path, tmp_path / "presets", default_model="fake") as service:
        service.storage().ensure_bucket()
        is_ready(service)
        statuses, stop = set[int](), threading.Event()

        def ask() -> None:
            while not stop.is_set():
                statuses.add(service.http.post("/jobs", json=JOB).status_code)
                statuses.add(service.http.get("/jobs").status_code)

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        for _ in range(3):
            os.kill(service.redis_server.pid, signal.SIGKILL)
            service.redis_server.stop()
            service.redis_server.start()
            eventually(lambda: service.http.get("/jobs").status_code == 200, "the API to be back")
        stop.set()
        for asker in askers:
            asker.join()
        assert statuses <= {200, 202, 503}
