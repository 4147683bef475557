"""Limits of keys in real processes: two APIs share a minute, workers count what they store, a lost Redis is counted
again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from cli.processes.machine import free_port
from core.service.domain.manifest import chunks_prefix, video_key
from tests.helpers.customers import ADMIN_KEY, bearer
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

REQUESTS = 20
BODY = {"prompt": "a red circle", "num_frames": 40}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for keys, with workers."""
    folder = tmp_path_factory.mktemp("limited")
    write_fake_preset(folder / "presets", "fake")
    with running_service(folder, folder / "presets", default_model="fake", admin_key=SecretStr(ADMIN_KEY)) as service:
        service.start_workers("fake")
        yield service


def new_key(service: Service, **limits: int) -> dict[str, Any]:
    body = {"name": "Example Ltd", "limits": limits}
    answer = service.http.post("/keys", json=body, headers=bearer(ADMIN_KEY))
    assert answer.status_code == 201, answer.text
    return answer.json()


def usage(service: Service, key: dict[str, Any]) -> dict[str, int]:
    return service.http.get("/key", headers=bearer(key["key"])).json()["usage"]


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False


def test_two_processes_share_the_requests_of_a_minute(service: Service) -> None:
    port = free_port()
    other = service.start_api(wait=False, port=port)
    key = new_key(service, requests_per_minute=REQUESTS)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
        eventually(lambda: answers(http), "the second API to answer")
        one_by_one = [service.http, http, http] * REQUESTS
        found = [one.get("/jobs", headers=bearer(key["key"])) for one in one_by_one]
    service.stop(other)
    refused = [answer for answer in found if answer.status_code == 429]
    assert REQUESTS <= len(found) - len(refused) <= 2 * REQUESTS, "another minute may have begun meanwhile"
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in refused)
    assert all(answer.headers["RateLimit-Policy"] == f'"requests";q={REQUESTS};w=60' for answer in found)


def test_a_job_is_counted_to_its_end_and_again_after_redis_was_lost(service: Service) -> None:
    key = new_key(service, frames_per_day=60)
    created = service.http.post("/jobs", json=BODY, headers=bearer(key["key"]))
    assert created.status_code == 202, created.text
    job = created.json()["id"]
    refused = service.http.post("/jobs", json=BODY, headers=bearer(key["key"]))
    assert (refused.status_code, refused.json()["code"]) == (429, "limit_reached")
    eventually(lambda: usage(service, key)["unfinished_jobs"] == 0, "the job to end", seconds=60)
    used = {"unfinished_jobs": 0, "frames_today": 40, "stored_bytes": stored_bytes(service, job), "complete": True}
    assert usage(service, key) == used
    service.redis().flushall()
    eventually(lambda: usage(service, key) == used, "the records to be rebuilt", seconds=60)
    assert service.http.delete(f"/jobs/{job}", headers=bearer(key["key"])).status_code == 204
    assert usage(service, key) == {**used, "stored_bytes": 0}


def stored_bytes(service: Service, job_id: str) -> int:
    storage = service.storage()
    objects = [*storage.list(chunks_prefix(job_id)), video_key(job_id)]
    return sum(storage.look_up(key).size_bytes for key in objects)
