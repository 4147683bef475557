"""Keys in real API processes: revocation in all, and a Redis that loses its data. tests/integration/test_web_keys.py:
the page that asks for a key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from api.access.known_keys import KNOWN_SECONDS
from cli.processes.machine import free_port
from core.service.redis.keys import API_KEYS
from tests.helpers.customers import ADMIN_KEY, bearer
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Redis, S3 and an API that asks for keys."""
    folder = tmp_path_factory.mktemp("keyed")
    write_fake_preset(folder / "presets", "fake")
    with running_service(folder, folder / "presets", default_model="fake", admin_key=SecretStr(ADMIN_KEY)) as service:
        yield service


def create(http: httpx.Client) -> dict[str, str]:
    answer = http.post("/keys", json={"name": "Example Ltd"}, headers=bearer(ADMIN_KEY))
    assert answer.status_code == 201, answer.text
    return answer.json()


def status(http: httpx.Client, text: str) -> int:
    return http.get("/jobs", headers=bearer(text)).status_code


def test_a_key_that_one_process_revokes_stops_at_the_others(service: Service) -> None:
    port = free_port()
    other = service.start_api(wait=False, port=port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
        eventually(lambda: answers(http), "the second API to answer")
        made = create(service.http)
        assert status(http, made["key"]) == 200
        assert service.http.delete(f"/keys/{made['id']}", headers=bearer(ADMIN_KEY)).status_code == 204
        assert status(service.http, made["key"]) == 401
        assert timedelta(seconds=2) > KNOWN_SECONDS
        eventually(lambda: status(http, made["key"]) == 401, "the other API to refuse the key")
    service.stop(other)


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False


def test_keys_outlive_a_redis_that_loses_its_data(service: Service) -> None:
    valid, dead = create(service.http), create(service.http)
    assert service.http.delete(f"/keys/{dead['id']}", headers=bearer(ADMIN_KEY)).status_code == 204
    service.redis().flushall()
    eventually(lambda: status(service.http, valid["key"]) == 200, "the key to be read again")
    assert status(service.http, dead["key"]) == 401
    keys = service.http.get("/keys", headers=bearer(ADMIN_KEY)).json()["keys"]
    listed = {key["id"]: key["revoked_at"] for key in keys}
    assert listed[valid["id"]] is None
    assert listed[dead["id"]]


def test_a_redis_restored_from_an_older_backup_brings_no_revoked_key_back_for_long(service: Service) -> None:
    made, client = create(service.http), service.redis()
    backup = str(client.hget(API_KEYS, made["id"]))
    assert service.http.delete(f"/keys/{made['id']}", headers=bearer(ADMIN_KEY)).status_code == 204
    client.hset(API_KEYS, made["id"], backup)
    eventually(lambda: status(service.http, made["key"]) == 200, "the key to be back")
    worker = service.start_worker("cpu")
    eventually(lambda: status(service.http, made["key"]) == 401, "the key to be refused again")
    service.stop(worker)
