"""The master of Redis dies while a job runs and others wait: three Sentinels turn to the replica, and all goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client.following import PROGRESS_EVENT
from client.sse import parse_events
from core.service.clock import SystemClock
from core.service.domain.ports import PauseTarget
from core.service.domain.schema import JobStatus
from core.service.redis.client import connect
from core.service.redis.pauses import RedisPauses
from tests.helpers.deadline import eventually
from tests.helpers.sentinels import Watched, watched_redis
from tests.helpers.service import Service, running_service
from tests.integration.conftest import write_presets

RUNNING = {"model": "slow", "seed": 7, "num_frames": 96}


class Listener:
    """Reads a job's events to their end, and continues after each interruption with the last id."""

    def __init__(self, service: Service, job_id: str) -> None:
        self._url = f"{service.http.base_url}/jobs/{job_id}/events"
        self.ids, self.types = list[str](), list[str]()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as http:
            while not self._stopping.is_set() and "job.succeeded" not in self.types:
                try:
                    self._read(http)
                except httpx.HTTPError:
                    self._stopping.wait(0.1)

    def _read(self, http: httpx.Client) -> None:
        since = {"Last-Event-ID": self.ids[-1]} if self.ids else {}
        with http.stream("GET", self._url, headers=since) as answer:
            answer.raise_for_status()
            for event in parse_events(answer.iter_lines()):
                if event.type != PROGRESS_EVENT:  # live only, without an id of its own
                    self.ids.append(event.id)
                    self.types.append(event.type)

    def end(self) -> None:
        self._stopping.set()
        self._thread.join()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with watched_redis(tmp_path / "redis", sentinels=3) as watched:
        yield watched


@pytest.fixture
def service(watched: Watched, tmp_path: Path) -> Iterator[Service]:
    urls = {"redis_url": watched.url(0), "broker_url": watched.url(1)}
    with running_service(tmp_path, write_presets(tmp_path / "presets"), default_model="slow", **urls) as service:
        service.start_workers("slow")
        yield service


def test_jobs_events_queue_and_pauses_go_on_after_a_failover(watched: Watched, service: Service) -> None:
    undisturbed = service.video(service.wait_for_success(service.submit(**RUNNING).id).id)
    job = service.submit(**RUNNING)
    listener = Listener(service, job.id)
    service.wait_for_chunks(job.id, 1)
    waiting = {priority: service.submit(model="slow", priority=priority) for priority in ("low", "normal", "high")}
    paused = PauseTarget(model="refinable")
    with watched.master.client() as client:
        with connect(watched.url(0)) as records:
            RedisPauses(records).pause(paused, SystemClock().now())
        assert eventually(lambda: client.wait(1, 1000), "the replica to have what was acknowledged")
    pids = {worker.pid for worker in service.workers()}

    watched.fail_over()

    eventually(lambda: service.http.get(f"/jobs/{job.id}").status_code == 200, "the API to answer", seconds=60)
    later = eventually(lambda: _accepted(service), "a job to be accepted", seconds=60)
    service.wait_for_success(job.id)
    assert service.video(job.id) == undisturbed
    ended = {priority: service.wait_for_success(queued.id) for priority, queued in waiting.items()}
    service.wait_for_success(later)
    began = [ended[priority].started_at for priority in ("high", "normal", "low")]
    assert None not in began
    assert began == sorted(began, key=str)
    eventually(lambda: "job.succeeded" in listener.types, "the event of its end")
    listener.end()
    assert len(set(listener.ids)) == len(listener.ids)
    assert listener.types.count("chunk.completed") == len(service.job(job.id).chunks)
    with connect(watched.url(0)) as records:
        assert list(RedisPauses(records).all()) == [paused]
    assert {worker.pid for worker in service.workers()} == pids
    assert service.job(job.id).status is JobStatus.SUCCEEDED


def _accepted(service: Service) -> str | None:
    answer = service.http.post("/jobs", json={"model": "slow", "prompt": "another", "priority": "low"})
    assert answer.status_code in {202, 503}, answer.text
    return answer.json()["id"] if answer.status_code == 202 else None
