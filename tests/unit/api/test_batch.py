"""POST /jobs/batch: each job is answered by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http import host_lookup
from api.http.responses import MAX_BODY_BYTES
from api.routes import batch
from core.service.admission.request_body import parse_request
from core.service.domain.errors import StorageUnavailable
from core.service.domain.schema import JobRequest
from tests.helpers.api_world import PROMPT, World

GOOD, BAD = {"prompt": PROMPT, "num_frames": 40}, {"prompt": PROMPT, "num_frames": 3}


def send(api: TestClient, jobs: object, **headers: str) -> list[dict[str, Any]]:
    answer = api.post("/jobs/batch", json={"jobs": jobs}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def test_one_bad_request_stops_no_other(api: TestClient, world: World) -> None:
    results = send(api, [GOOD, BAD, "no object", {**GOOD, "nonsense": 1}, {**GOOD, "seed": 3}])
    assert [each["status"] for each in results] == [202, 422, 422, 422, 202]
    assert [each["error"] and each["error"]["code"] for each in results] == [
        None,
        "too_few_frames",
        "invalid_field",
        "unknown_field",
        None,
    ]
    assert results[1]["error"]["fix"]
    stored = [record.id for record in world.store.active()]
    assert {results[0]["job"]["id"], results[4]["job"]["id"]} == set(stored)
    assert world.queue.messages


def test_jobs_begin_in_the_order_of_the_batch(api: TestClient) -> None:
    results = send(api, [GOOD] * 3)
    shown = [api.get(f"/jobs/{each['job']['id']}").json() for each in results]
    assert [job["created_at"] for job in shown] == sorted(job["created_at"] for job in shown)


def test_a_batch_that_is_sent_again_creates_only_what_is_missing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.client() as api:
        puts = iter([True, False])
        put = world.storage.put

        def second_fails(key: str, data: bytes, content_type: str) -> None:
            if not next(puts):
                raise StorageUnavailable
            put(key, data, content_type)

        with monkeypatch.context() as patch:
            patch.setattr(world.storage, "put", second_fails)
            first = send(api, [GOOD, GOOD], **{"Idempotency-Key": "a"})
        again = send(api, [GOOD, GOOD], **{"Idempotency-Key": "a"})
    assert [each["status"] for each in first] == [202, 503]
    assert first[1]["error"]["code"] == "storage_unavailable"
    assert [each["status"] for each in again] == [200, 202]
    assert again[0]["job"]["id"] == first[0]["job"]["id"]


def test_another_request_at_a_place_of_the_batch_is_refused_alone(api: TestClient) -> None:
    send(api, [GOOD, GOOD], **{"Idempotency-Key": "a"})
    results = send(api, [GOOD, {**GOOD, "seed": 1}], **{"Idempotency-Key": "a"})
    assert [each["status"] for each in results] == [200, 422]
    assert results[1]["error"]["code"] == "idempotency_key_reused"


def test_keys_of_batches_and_of_single_requests_are_apart(api: TestClient) -> None:
    send(api, [GOOD, GOOD], **{"Idempotency-Key": "a"})
    for key in ("a", "a 1", "a1"):
        assert api.post("/jobs", json={**GOOD, "seed": 1}, headers={"Idempotency-Key": key}).status_code == 202


def test_a_full_service_takes_as_many_as_fit(world: World) -> None:
    with world.client(world.settings.model_copy(update={"max_queued_jobs": 2})) as api:
        results = send(api, [GOOD] * 3)
    assert [each["status"] for each in results] == [202, 202, 503]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"jobs": []}, "jobs"), ({"jobs": [GOOD] * 101}, "jobs"), ({"jobs": GOOD}, "jobs"), ({}, "jobs"), ([GOOD], None)],
)
def test_a_batch_has_1_to_100_jobs(api: TestClient, world: World, body: object, field: str | None) -> None:
    answer = api.post("/jobs/batch", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["fix"]
    assert world.store.count_active() == 0


def test_a_batch_may_be_larger_than_one_request(api: TestClient) -> None:
    jobs = [{**GOOD, "metadata": {"note": "x" * 500, "more": "y" * 500}}] * 100
    assert {each["status"] for each in send(api, jobs)} == {202}
    answer = api.post("/jobs/batch", content=b'{"jobs": [' + b" " * 2**20, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_an_item_is_no_larger_than_a_request_by_itself(api: TestClient) -> None:
    body = {**GOOD, "parameters": {"note": "\u00e9" * (MAX_BODY_BYTES // 2)}}
    large, good = send(api, [body, GOOD])
    assert (large["status"], large["error"]["code"], good["status"]) == (413, "body_too_large", 202)
    assert large["error"]["fix"]
    assert api.post("/jobs", json=body).status_code == 413
    lone = b'{"jobs": [{"prompt": "\\ud800"}]}'
    answer = api.post("/jobs/batch", content=lone, headers={"Content-Type": "application/json"})
    assert answer.json()["results"][0]["error"]["field"] == "prompt"


def test_a_list_of_events_is_refused_by_its_length(api: TestClient) -> None:
    (result,) = send(api, [{**GOOD, "webhook_events": [0] * 30_000}])
    assert (result["status"], result["error"]["field"]) == (422, "webhook_events")
    assert len(result["error"]["errors"]) == 1


@pytest.mark.parametrize("path", ["/jobs", "/jobs/batch"])
def test_bodies_are_checked_off_the_event_loop(api: TestClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    on_the_loop = list[bool]()

    def parse(body: object) -> JobRequest:
        try:
            asyncio.get_running_loop()
            on_the_loop.append(True)
        except RuntimeError:
            on_the_loop.append(False)
        return parse_request(body)

    for module in (batch, host_lookup):
        monkeypatch.setattr(module, "parse_request", parse)
    assert api.post(path, json=GOOD if path == "/jobs" else {"jobs": [GOOD]}).status_code < 300
    assert on_the_loop == [False]
