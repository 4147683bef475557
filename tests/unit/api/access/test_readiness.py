"""GET /readyz is open to all: with keys, only operators read which jobs run, and on which machines."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.api_keys import ApiKey, Scope, new_key
from core.service.domain.errors import StoreUnavailable
from core.service.domain.ports import WorkerStatus
from core.service.testing.api_keys import FakeApiKeys
from tests.helpers.api_world import World
from tests.helpers.callers import Callers
from tests.helpers.customers import ADMIN_KEY, bearer, customer, with_keys

BUSY = WorkerStatus(
    name="generate-sprites-0-4711@gpu-box.example",
    kind="generate",
    model="sprites",
    state="busy",
    device="cuda:0",
    pid=4711,
    cuda_visible_devices="GPU-5a1b",
    job_id="job_of_a_customer",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    reason="waits for 10.0.0.5:6379",
)
SHOWN = {**BUSY.model_dump(mode="json", exclude={"media_threads"}), "paused": False}
DETAILS = ("name", "pid", "cuda_visible_devices", "job_id", "reason")


@pytest.fixture(autouse=True)
def busy_worker(world: World) -> None:
    world.workers.report(BUSY, 60)


def worker_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    (worker,) = answer.json()["workers"]
    return dict(worker)


def test_without_an_admins_key_it_tells_states_only(callers: Callers) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    for answer in (
        callers.nobody.get("/readyz"),
        callers.one.get("/readyz"),
        callers.nobody.get("/readyz", headers=wrong),
    ):
        worker = worker_of(answer)
        assert {name for name in worker if worker[name] is None} == {*DETAILS}
        assert (worker["kind"], worker["model"], worker["state"], worker["device"]) == (
            "generate",
            "sprites",
            "busy",
            "cuda:0",
        )
        for secret in ("job_of", "gpu-box", "4711", "GPU-5a1b", "10.0.0.5"):
            assert secret not in answer.text


def test_an_admins_key_reads_all(callers: Callers) -> None:
    for caller in (callers.admin, callers.customer(Scope.ADMIN)):
        assert worker_of(caller.get("/readyz")) == SHOWN


def test_without_keys_everybody_reads_all(api: TestClient) -> None:
    assert worker_of(api.get("/readyz")) == SHOWN


def test_why_a_server_cannot_be_used_is_for_operators(callers: Callers, world: World) -> None:
    world.storage.broken = True
    told, shown = callers.nobody.get("/readyz"), callers.admin.get("/readyz")
    assert (told.status_code, shown.status_code) == (503, 503)
    assert told.json()["storage"] == {"ok": False, "reason": None}
    assert shown.json()["storage"] == {"ok": False, "reason": "the fake storage is broken"}


class KeysAway(FakeApiKeys):
    """A store that refuses, or that does not answer before `answers`."""

    def __init__(self, answers: threading.Event | None) -> None:
        super().__init__()
        self._answers = answers

    def find(self, key_ids: Sequence[str]) -> Sequence[ApiKey | None]:
        if self._answers:
            self._answers.wait(30)
        raise StoreUnavailable(f"Redis is away: {key_ids}")


@pytest.fixture
def answers() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("silent", [False, True])
def test_keys_that_cannot_be_checked_keep_nobody_from_it(world: World, answers: threading.Event, silent: bool) -> None:
    world.keys = KeysAway(answers if silent else None)
    with world.client(with_keys(world.settings)) as api:
        assert worker_of(api.get("/readyz", headers=bearer(new_key().text)))["job_id"] is None
        assert worker_of(api.get("/readyz", headers=bearer(ADMIN_KEY)))["job_id"] == BUSY.job_id
        answers.set()


def test_a_key_with_a_limit_reads_it_however_often(callers: Callers, world: World) -> None:
    text = customer(world.keys, requests_per_minute=1).text
    assert [callers.nobody.get("/readyz", headers=bearer(text)).status_code for _ in range(3)] == [200, 200, 200]
