"""GET /status: what it tells of workers, queues and rates, to whom, and what it costs."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.backends.readiness import Probe
from api.http.examples import STATUS_EXAMPLE
from core.service.domain.api_keys import Scope
from core.service.domain.errors import StoreUnavailable
from core.service.domain.ports import EVERYTHING, PauseTarget, WorkerStatus
from core.service.domain.schema import Lane
from core.service.domain.service_status import ServiceStatus
from core.service.testing.clock import FAKE_START
from tests.helpers.api_world import PROMPT, World, submit
from tests.helpers.callers import Callers
from tests.helpers.customers import bearer, with_keys

METRICS_KEY = "the-key-that-prometheus-has-in-all-tests"
NAME = "worker-1"


def report(world: World, name: str = NAME, **changes: Any) -> None:
    values: dict[str, Any] = {"kind": "both", "model": "fake", "state": "ready", "device": "cpu", "pid": 7}
    world.workers.report(WorkerStatus(name=name, started_at=FAKE_START, **{**values, **changes}), 3600)


def status_of(api: TestClient) -> dict[str, Any]:
    answer = api.get("/status")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return cast(dict[str, Any], answer.json())


def queue_of(status: dict[str, Any], pool: str = "fake") -> dict[str, Any]:
    (found,) = [queue for queue in status["queues"] if queue["pool"] == pool]
    return cast(dict[str, Any], found)


def test_nothing_is_there_at_first(api: TestClient) -> None:
    status = status_of(api)
    lists = ("paused", "workers", "queues", "rates")
    assert [status[name] for name in lists] == [[], [], [], []]
    assert {*status["jobs"].values()} == {status["webhooks_pending"]} == {0}


def test_a_worker_is_shown_with_what_it_makes(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=48)
    report(world, state="busy", job_id=job_id)
    world.make_chunk(job_id)
    assert world.store.claim(job_id, Lane.GENERATE, NAME, 600)
    world.step(job_id, 3)
    world.clock.advance(2.5)
    (worker,) = status_of(api)["workers"]
    assert worker["making"] == [
        {"job_id": job_id, "lane": "generate", "chunk": 1, "step": 3, "steps": 8, "seconds": 2.5}
    ]
    assert (worker["name"], worker["kind"], worker["model"], worker["paused"]) == (NAME, "both", "fake", False)


def test_a_cpu_worker_shows_each_of_its_threads(api: TestClient, world: World) -> None:
    report(world, "cpu-0-1@host", kind="cpu", model=None, media_threads=4)
    done = submit(api, num_frames=16)
    world.make_chunk(done)
    assert world.store.claim(done, Lane.FINALIZE, "cpu-0-1@host", 600)
    (worker,) = status_of(api)["workers"]
    assert [(piece["lane"], piece["chunk"]) for piece in worker["making"]] == [("finalize", None)]


def test_a_queue_tells_what_waits_by_class_how_long_and_what_is_left(api: TestClient, world: World) -> None:
    report(world)
    submit(api, priority="low")
    world.clock.advance(40)
    begun = submit(api, num_frames=32)
    world.make_chunk(begun, seconds=5)
    submit(api, priority="high", num_frames=16)
    assert world.store.claim(begun, Lane.GENERATE, NAME, 600)
    queue = queue_of(status_of(api))
    assert queue["waiting"] == {"high": 1, "normal": 0, "low": 1}
    assert queue["waiting_seconds"] == 45
    assert (queue["queued_jobs"], queue["begun_jobs"], queue["active_workers"], queue["workers"]) == (2, 1, 1, 1)
    pieces = 1 + 1 + world.settings.default_num_frames // 16
    assert queue["queue_seconds"] == 5 * pieces
    assert queue["desired_workers"] == 1
    assert queue["unserved"] == []


@pytest.mark.parametrize(
    ("state", "kind", "unserved"),
    [
        ("ready", "both", []),
        ("busy", "generate", []),
        ("not_ready", "both", ["generate"]),
        ("starting", "generate", []),
        ("ready", "refine", ["generate"]),
        ("draining", "both", ["generate"]),
    ],
)
def test_work_that_no_worker_can_take_is_told(
    api: TestClient, world: World, state: str, kind: str, unserved: list[str]
) -> None:
    submit(api)
    report(world, state=state, kind=kind)
    assert queue_of(status_of(api))["unserved"] == unserved


def test_work_without_any_worker_is_told(api: TestClient) -> None:
    submit(api)
    assert queue_of(status_of(api))["unserved"] == ["generate"]


def test_a_pool_without_work_is_shown_while_it_has_a_worker(api: TestClient, world: World) -> None:
    world.finish(submit(api, num_frames=16))
    assert status_of(api)["queues"] == []


def test_idle_pools_of_workers_are_shown(api: TestClient, world: World) -> None:
    report(world)
    report(world, "cpu-0-1@host", kind="cpu", model=None)
    assert [queue["pool"] for queue in status_of(api)["queues"]] == ["fake", "finalize", "measure", "prepare"]
    assert queue_of(status_of(api))["waiting_seconds"] is None


def test_rates_are_those_of_the_last_minute(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=32, fps=8)
    world.make_chunk(job_id, seconds=0)
    world.make_chunk(job_id, seconds=0)
    status = status_of(api)
    (rate,) = status["rates"]
    seconds = status["rate_seconds"]
    assert 60 <= seconds <= 70
    assert (rate["model"], rate["lane"]) == ("fake", "generate")
    assert rate["chunks_per_second"] == pytest.approx(2 / seconds, abs=0.001)
    assert rate["frames_per_second"] == pytest.approx(32 / seconds, abs=0.01)
    assert rate["realtime_factor"] == pytest.approx(4 / seconds, abs=0.001)


@pytest.mark.parametrize(
    ("target", "told", "is_held"),
    [
        (EVERYTHING, (None, None), True),
        (PauseTarget(model="fake"), ("fake", None), True),
        (PauseTarget(worker=NAME), (None, NAME), True),
        (PauseTarget(model="another"), ("another", None), False),
    ],
    ids=str,
)
def test_pauses_are_told_here_and_in_readyz(
    api: TestClient, world: World, target: PauseTarget, told: tuple[str | None, str | None], is_held: bool
) -> None:
    report(world)
    submit(api)
    world.pauses.pause(target, world.clock.now())
    status = status_of(api)
    (pause,) = status["paused"]
    assert (pause["model"], pause["worker"]) == told
    assert queue_of(status)["desired_workers"] == (0 if is_held and told[1] is None else 1)
    assert status["workers"][0]["paused"] is is_held
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["status"], answer.json()["paused"]) == (200, "ready", True)
    assert answer.json()["workers"][0]["paused"] is is_held


def test_nothing_is_paused_in_readyz_at_first(api: TestClient, world: World) -> None:
    report(world)
    answer = api.get("/readyz").json()
    assert (answer["paused"], answer["workers"][0]["paused"]) == (False, False)


def test_it_has_no_prompt_and_no_key(api: TestClient, world: World) -> None:
    report(world, state="busy")
    answer = api.post("/jobs", json={"prompt": PROMPT, "metadata": {"a": "secret-metadata"}})
    assert world.store.claim(answer.json()["id"], Lane.GENERATE, NAME, 600)
    text = api.get("/status").text
    assert answer.json()["id"] in text
    assert [word for word in (PROMPT, "secret-metadata", "lease", "token") if word in text] == []


def test_the_example_is_an_answer() -> None:
    assert ServiceStatus.model_validate(STATUS_EXAMPLE).model_dump(mode="json") == STATUS_EXAMPLE


def test_without_redis_it_says_so(api: TestClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> object:
        raise StoreUnavailable("Redis is away at 10.0.0.5")

    monkeypatch.setattr(world.store, "totals", away)
    answer = api.get("/status")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "10.0.0.5" not in answer.text


def test_looks_within_a_second_read_redis_once_and_no_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.app.Probe", partial(Probe, monotonic=lambda: 0.0))
    reads, totals = list[str](), world.store.totals

    def counted() -> Any:
        reads.append("totals")
        return totals()

    with world.client() as api:
        job_id = submit(api)
        report(world, state="busy")
        assert world.store.claim(job_id, Lane.GENERATE, NAME, 600)
        monkeypatch.setattr(world.store, "totals", counted)
        for name in ("get", "list", "active", "looks", "counts", "queued_work"):
            monkeypatch.setattr(world.store, name, partial(reads.append, name))
        for _ in range(5):
            assert status_of(api)["workers"][0]["making"][0]["job_id"] == job_id
    assert reads == ["totals"]


@pytest.fixture
def callers(world: World) -> Callers:
    settings = with_keys(world.settings).model_copy(update={"metrics_key": SecretStr(METRICS_KEY)})
    return Callers(cast(FastAPI, world.client(settings).app), world)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_only_operators_read_it_where_keys_are_used(callers: Callers, method: str) -> None:
    assert callers.nobody.request(method, "/status").status_code == 401
    assert callers.nobody.request(method, "/status", headers=bearer(METRICS_KEY)).status_code == 401
    for scope in (Scope.JOBS, Scope.READ):
        assert callers.customer(scope).request(method, "/status").status_code == 403
    for operator in (callers.admin, callers.customer(Scope.ADMIN)):
        assert operator.request(method, "/status").status_code == 200


def test_a_customer_is_told_which_scope_it_needs(callers: Callers) -> None:
    assert callers.one.get("/status").json()["code"] == "scope_missing"
