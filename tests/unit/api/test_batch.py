"""POST /jobs/batch: each job is answered by itself."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.errors import StorageUnavailable
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
