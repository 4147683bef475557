"""GET /metrics: what it tells, to whom, and that no label comes from a client."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from api.backends.readiness import Probe
from core.service.domain.api_keys import Scope
from core.service.domain.errors import StoreUnavailable
from core.service.domain.ports import EVERYTHING, PauseTarget, WorkerStatus
from core.service.domain.schema import Lane
from core.service.settings import Settings
from core.service.testing.clock import FAKE_START
from tests.helpers.api_world import World, submit
from tests.helpers.callers import Callers
from tests.helpers.customers import ADMIN_KEY, bearer, with_keys
from tests.helpers.jobs import chunk_of

METRICS_KEY = "the-key-that-prometheus-has-in-all-tests"


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Value of every sample by name and labels."""
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}


def scraped(api: TestClient, name: str, **labels: str) -> float | None:
    """The value of a sample now; None if there is none."""
    return samples(api.get("/metrics").text).get((name, frozenset(labels.items())))


def label_values(text: str) -> set[str]:
    return {value for _, labels in samples(text) for _, value in labels}


def test_jobs_and_queues_are_counted(api: TestClient, world: World) -> None:
    submit(api)
    world.clock.advance(40)
    begun = submit(api)
    world.start(begun)
    assert scraped(api, "longtake_jobs", status="queued") == 1
    assert scraped(api, "longtake_jobs", status="running") == 1
    assert scraped(api, "longtake_queued_jobs", model="fake", priority="normal") == 1
    assert scraped(api, "longtake_queue_age_seconds", model="fake", priority="normal") == 40
    assert scraped(api, "longtake_lane_jobs", lane="generate", model="fake") == 2
    assert scraped(api, "longtake_webhooks_pending") == 0
    assert scraped(api, "longtake_redis_up") == 1


def test_a_model_without_jobs_has_an_empty_queue(api: TestClient) -> None:
    assert scraped(api, "longtake_queued_jobs", model="fake", priority="normal") == 0
    assert scraped(api, "longtake_queue_age_seconds", model="fake", priority="normal") == 0


def test_uploads_are_counted_with_their_bytes_once_they_are_made(api: TestClient) -> None:
    types = {"image/png": 10, "video/mp4": 20, "image/webp": 5, "application/octet-stream": 7}
    wanted = [{"content_type": content_type, "size_bytes": size} for content_type, size in types.items()]
    made = [api.post("/uploads", json=each).json()["id"] for each in wanted]
    for refused in ({"content_type": "text/plain", "size_bytes": 3}, {"content_type": "image/png", "size_bytes": 0}):
        assert api.post("/uploads", json=refused).status_code == 422
    assert api.delete(f"/uploads/{made[0]}").status_code == 204
    for kind, count, size in (("image", 2, 15), ("video", 1, 20), ("any", 1, 7)):
        assert scraped(api, "longtake_uploads_total", kind=kind) == count
        assert scraped(api, "longtake_upload_bytes_total", kind=kind) == size
    assert scraped(api, "longtake_stored_uploads") == 3


def test_kinds_of_uploads_begin_at_zero(api: TestClient) -> None:
    assert scraped(api, "longtake_uploads_total", kind="image") == 0


def test_workers_are_counted_by_state(api: TestClient, world: World) -> None:
    common: Mapping[str, Any] = {"device": "cpu", "pid": 1, "started_at": FAKE_START}
    world.workers.report(WorkerStatus(name="a", kind="both", model="fake", state="busy", job_id="job_x", **common), 60)
    world.workers.report(WorkerStatus(name="b", kind="both", model="fake", state="busy", **common), 60)
    world.workers.report(WorkerStatus(name="c", kind="cpu", model=None, state="ready", **common), 60)
    assert scraped(api, "longtake_workers", kind="both", model="fake", state="busy", device="cpu") == 2
    assert scraped(api, "longtake_workers", kind="cpu", model="", state="ready", device="cpu") == 1


def test_workers_are_counted_by_the_kind_of_their_device_once_they_have_it(api: TestClient, world: World) -> None:
    for number, device in enumerate(("NVIDIA H200", "NVIDIA L4", "cpu")):
        for state in ("ready", "starting", "not_ready"):
            status: Mapping[str, Any] = {"state": state, "device": device, "pid": number, "started_at": FAKE_START}
            world.workers.report(WorkerStatus(name=f"{state}{number}", kind="both", model="fake", **status), 60)
    of_model = {"kind": "both", "model": "fake"}
    assert scraped(api, "longtake_workers", state="ready", device="cuda", **of_model) == 2
    assert scraped(api, "longtake_workers", state="ready", device="cpu", **of_model) == 1
    for state in ("starting", "not_ready"):
        assert scraped(api, "longtake_workers", state=state, device="", **of_model) == 3


def pool_samples(api: TestClient, pool: str) -> dict[str, float | None]:
    names = ("queue_seconds", "active_workers", "workers", "desired_workers")
    return {name: scraped(api, f"longtake_pool_{name}", pool=pool) for name in names}


def test_a_pool_tells_its_work_and_how_many_workers_it_needs(api: TestClient, world: World) -> None:
    for _ in range(7):
        submit(api, num_frames=160)
    lease = world.store.claim_next([Lane.GENERATE], "fake", "w1", 3600)
    assert lease
    world.clock.advance(10)
    world.store.commit_and_claim(lease, chunk_of(world.store.get(lease.job_id), 0), "f1", 3600)
    told = {"queue_seconds": 690, "active_workers": 1, "workers": 0, "desired_workers": 6}
    assert pool_samples(api, "fake") == told, "69 pieces of 10 s, to be done in 120 s"


def test_work_that_was_never_timed_has_no_seconds_and_wants_one_worker(api: TestClient) -> None:
    submit(api)
    told = {"queue_seconds": None, "active_workers": 0, "workers": 0, "desired_workers": 1}
    assert pool_samples(api, "fake") == told


@pytest.mark.parametrize(
    ("target", "desired"), [(PauseTarget(model="fake"), 0), (EVERYTHING, 0), (PauseTarget(model="other"), 1)], ids=str
)
def test_a_paused_pool_has_its_work_and_needs_no_worker(
    api: TestClient, world: World, target: PauseTarget, desired: int
) -> None:
    submit(api)
    world.pauses.pause(target, world.clock.now())
    assert scraped(api, "longtake_pool_desired_workers", pool="fake") == desired


def test_pools_without_work_have_zeros_and_count_their_ready_workers(api: TestClient, world: World) -> None:
    common: Mapping[str, Any] = {"device": "cpu", "pid": 1, "started_at": FAKE_START}
    for status in (
        WorkerStatus(name="a", kind="both", model="fake", state="busy", **common),
        WorkerStatus(name="b", kind="refine", model="fake", state="ready", **common),
        WorkerStatus(name="c", kind="both", model="fake", state="starting", **common),
        WorkerStatus(name="d", kind="both", model="other", state="ready", **common),
        WorkerStatus(name="e", kind="cpu", model=None, state="ready", **common),
    ):
        world.workers.report(status, 60)
    zeros = {"queue_seconds": 0, "active_workers": 0, "desired_workers": 0}
    for pool, count in (("fake", 2), ("prepare", 1), ("finalize", 1)):
        assert pool_samples(api, pool) == zeros | {"workers": count}


def test_answers_are_counted_by_route_method_and_status(api: TestClient) -> None:
    job_id = submit(api)
    api.get(f"/jobs/{job_id}")
    api.get("/jobs/job_none")
    api.head("/jobs/job_none")
    api.get("/no/such/path")
    api.request("BREW", "/jobs")
    route = "/jobs/{job_id}"
    for method, at, status in (
        ("POST", "/jobs", "202"),
        ("GET", route, "200"),
        ("GET", route, "404"),
        ("HEAD", route, "404"),
        ("GET", "none", "404"),
    ):
        labels = {"method": method, "route": at, "status": status}
        assert scraped(api, "longtake_http_requests_total", **labels) == 1, labels
    assert scraped(api, "longtake_http_request_duration_seconds_count", method="GET", route=route) == 2
    assert "BREW" not in label_values(api.get("/metrics").text)


def test_polls_of_a_job_that_has_not_changed_are_counted_by_its_route(api: TestClient) -> None:
    path = f"/jobs/{submit(api)}"
    known = {"If-None-Match": api.get(path).headers["etag"]}
    assert api.get(path, headers=known).status_code == 304
    assert api.head(path, headers=known).status_code == 304
    route = "/jobs/{job_id}"
    for method, status in (("GET", "200"), ("GET", "304"), ("HEAD", "304")):
        labels = {"method": method, "route": route, "status": status}
        assert scraped(api, "longtake_http_requests_total", **labels) == 1, labels
    assert scraped(api, "longtake_http_request_duration_seconds_count", method="GET", route=route) == 2


def test_a_refusal_before_routing_is_counted(world: World) -> None:
    with world.client(with_keys(world.settings)) as api:
        api.get("/jobs")
        text = api.get("/metrics", headers=bearer(ADMIN_KEY)).text
    labels = frozenset({("method", "GET"), ("route", "none"), ("status", "401")})
    assert samples(text)["longtake_http_requests_total", labels] == 1


def test_no_label_comes_from_a_client(api: TestClient, world: World) -> None:
    secrets = ("lt_secret-key", "secret-token", "secret prompt", "secret-metadata")
    answer = api.post(
        "/jobs?dry_run=false",
        json={"prompt": "secret prompt", "metadata": {"a": "secret-metadata"}},
        headers=bearer("lt_secret-key"),
    )
    job_id = answer.json()["id"]
    api.get(f"/jobs/{job_id}?token=secret-token", headers=bearer("lt_secret-key"))
    text = api.get("/metrics").text
    assert [word for word in (*secrets, job_id) if word in text] == []
    assert world.store.count_active() == 1


def test_open_metrics_are_answered_to_those_who_ask(api: TestClient) -> None:
    answer = api.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "longtake_http_requests" in {family.name for family in open_metrics(answer.text)}
    assert api.get("/metrics").headers["content-type"].startswith("text/plain")


def test_without_redis_the_process_still_tells_of_itself(
    api: TestClient, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_models: object) -> object:
        raise StoreUnavailable("Redis is away")

    monkeypatch.setattr(world.store, "counts", away)
    answer = api.get("/metrics")
    found = samples(answer.text)
    assert (answer.status_code, found["longtake_redis_up", frozenset()]) == (200, 0)
    assert "longtake_jobs" not in {name for name, _ in found}
    assert "process_cpu_seconds_total" in {name for name, _ in found}
    (told,) = [record for record in caplog.records if record.name == "api.routes.metrics"]
    assert "Redis is away" in told.getMessage()


def test_scrapes_within_a_second_read_redis_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.app.Probe", partial(Probe, monotonic=lambda: 0.0))
    reads, counts = list[object](), world.store.counts

    def counted(models: Any) -> Any:
        reads.append(models)
        return counts(models)

    monkeypatch.setattr(world.store, "counts", counted)
    with world.client() as api:
        for _ in range(5):
            assert api.get("/metrics").status_code == 200
    assert len(reads) == 1


@pytest.fixture
def callers(world: World) -> Callers:
    settings = with_keys(world.settings).model_copy(update={"metrics_key": SecretStr(METRICS_KEY)})
    return Callers(world.client(settings).app, world)  # type: ignore[arg-type]


def test_operators_and_prometheus_read_them_where_keys_are_used(callers: Callers) -> None:
    assert callers.nobody.get("/metrics").status_code == 401
    assert callers.one.get("/metrics").status_code == 403
    assert callers.customer(Scope.READ).get("/metrics").status_code == 403
    assert callers.admin.get("/metrics").status_code == 200
    assert callers.nobody.get("/metrics", headers=bearer(METRICS_KEY)).status_code == 200
    assert callers.nobody.head("/metrics", headers=bearer(METRICS_KEY)).status_code == 200


@pytest.mark.parametrize("path", ["/jobs", "/keys", "/key", "/metrics/", "/metricsx", "/v1/videos"])
def test_the_key_of_prometheus_opens_nothing_else(callers: Callers, path: str) -> None:
    assert callers.nobody.get(path, headers=bearer(METRICS_KEY)).status_code == 401


def test_without_a_metrics_key_only_operators_read_them(world: World) -> None:
    callers = Callers(world.client(with_keys(world.settings)).app, world)  # type: ignore[arg-type]
    assert callers.nobody.get("/metrics", headers=bearer(METRICS_KEY)).status_code == 401
    assert callers.admin.get("/metrics").status_code == 200


def test_an_empty_metrics_key_is_none_as_docker_compose_passes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_METRICS_KEY", "")
    assert Settings().metrics_key is None


def test_a_short_metrics_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 or more"):
        Settings(metrics_key=SecretStr("short"))
