"""Creating jobs over HTTP: Idempotency-Key, ids of clients, plans, waiting for the end."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.events.sse import Streams
from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import StorageUnavailable, StoreUnavailable
from core.service.domain.manifest import manifest_key
from core.service.domain.schema import JobRecord
from core.service.testing.job_store import FakeJobStore
from tests.helpers.api_world import BASE_URL, PROMPT, World, submit
from tests.helpers.deadline import eventually
from tests.helpers.manifests import record_from_manifest

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
BODY = {"prompt": PROMPT, "num_frames": 40}


# --- Idempotency-Key -------------------------------------------------------------------------------------------------


def test_the_same_key_and_request_give_the_same_job(api: TestClient, world: World) -> None:
    first = api.post("/jobs", json=BODY, headers=KEY)
    world.make_chunk(first.json()["id"])
    again = api.post("/jobs", json=dict(reversed(BODY.items())), headers=KEY)
    assert (first.status_code, again.status_code) == (202, 200)
    assert "idempotency-replayed" not in first.headers
    assert (again.headers["idempotency-replayed"], again.headers["location"]) == ("true", first.headers["location"])
    assert (again.json()["id"], again.json()["status"]) == (first.json()["id"], "running")
    assert world.store.count_active() == 1
    assert len(world.queue.messages) == 1


def test_another_request_with_the_same_key_is_refused(api: TestClient, world: World) -> None:
    api.post("/jobs", json=BODY, headers=KEY)
    answer = api.post("/jobs", json={**BODY, "seed": 1}, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert (answer.json()["field"], bool(answer.json()["fix"])) == ("Idempotency-Key", True)
    assert world.store.count_active() == 1


def test_a_key_in_quotes_is_the_same_key(api: TestClient) -> None:
    first = api.post("/jobs", json=BODY, headers={"Idempotency-Key": 'a "b"'})
    again = api.post("/jobs", json=BODY, headers={"Idempotency-Key": r'"a \"b\""'})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


@pytest.mark.parametrize("key", ["", " ", '""', "a" * 256, "caf\u00e9", "a\tb"])
def test_a_key_that_is_none_is_refused_without_repeating_it(api: TestClient, world: World, key: str) -> None:
    answer = api.post("/jobs", json=BODY, headers={"Idempotency-Key": key.encode("latin-1")})  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert "aaaa" not in answer.text
    assert world.store.count_active() == 0


def test_two_keys_are_refused(api: TestClient) -> None:
    answer = api.post("/jobs", json=BODY, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


def test_a_key_is_forgotten_after_a_day(api: TestClient, world: World) -> None:
    first = api.post("/jobs", json=BODY, headers=KEY)
    world.clock.advance(24 * 3600 + 1)
    again = api.post("/jobs", json={**BODY, "seed": 1}, headers=KEY)
    assert (again.status_code, again.json()["id"] == first.json()["id"]) == (202, False)


def test_a_refused_request_leaves_its_key_free(api: TestClient) -> None:
    assert api.post("/jobs", json={**BODY, "num_frames": 3}, headers=KEY).status_code == 422
    assert api.post("/jobs", json=BODY, headers=KEY).status_code == 202


def test_a_full_service_leaves_the_key_free(world: World) -> None:
    with world.client(world.settings.model_copy(update={"max_queued_jobs": 1})) as api:
        job_id = submit(api)
        assert api.post("/jobs", json=BODY, headers=KEY).json()["code"] == "service_full"
        api.delete(f"/jobs/{job_id}")
        assert api.post("/jobs", json=BODY, headers=KEY).status_code == 202


def test_a_retry_of_a_deleted_job_creates_no_other_one(api: TestClient, world: World) -> None:
    first = api.post("/jobs", json=BODY, headers=KEY).json()["id"]
    api.delete(f"/jobs/{first}")
    answer = api.post("/jobs", json=BODY, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, "job_deleted")
    assert world.store.count_active() == 0


class StoppingStore(FakeJobStore):
    """`create` fails, before or after it stores the record; or waits until it is told to go on."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self.fails_before = self.fails_after = False
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def create(self, record: JobRecord, limits: KeyLimits | None = None) -> JobRecord:
        self.reached.set()
        assert self.go_on.wait(30)
        if self.fails_before:
            raise StoreUnavailable
        created = super().create(record, limits)
        if self.fails_after:
            raise StoreUnavailable
        return created


@pytest.fixture
def stopping(world: World) -> StoppingStore:
    world.store = store = StoppingStore(world)
    return store


@contextmanager
def create_in_flight(api: TestClient, stopping: StoppingStore, method: str, path: str) -> Generator[list[int]]:
    """A request whose job is being created; its status is in the list afterwards."""
    stopping.go_on.clear()
    statuses: list[int] = []

    def send() -> None:
        statuses.append(api.request(method, path, json=BODY, headers=KEY).status_code)

    thread = threading.Thread(target=send)
    thread.start()
    assert stopping.reached.wait(30)
    try:
        yield statuses
    finally:
        stopping.go_on.set()
        thread.join(30)


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/jobs", 202), ("PUT", "/jobs/mine", 201)])
def test_a_second_request_while_the_first_is_in_flight_is_to_come_later(
    world: World, stopping: StoppingStore, method: str, path: str, status: int
) -> None:
    with world.client() as api:
        with create_in_flight(api, stopping, method, path) as statuses:
            answer = api.request(method, path, json=BODY, headers=KEY)
            assert (answer.status_code, answer.json()["code"]) == (409, "request_in_flight")
            assert int(answer.headers["retry-after"]) > 0
        assert statuses == [status]
        assert api.request(method, path, json=BODY, headers=KEY).status_code == 200
    assert world.store.count_active() == 1


@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("PUT", "/jobs/mine")])
def test_a_retry_finds_the_job_whose_answer_was_lost(
    world: World, stopping: StoppingStore, method: str, path: str
) -> None:
    with world.client() as api:
        stopping.fails_after = True
        assert api.request(method, path, json=BODY, headers=KEY).status_code == 503
        stopping.fails_after = False
        assert api.request(method, path, json=BODY, headers=KEY).status_code == 200
    assert world.store.count_active() == 1


@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("PUT", "/jobs/mine")])
def test_a_retry_creates_the_job_that_an_outage_prevented(
    world: World, stopping: StoppingStore, method: str, path: str
) -> None:
    with world.client() as api:
        stopping.fails_before = True
        assert api.request(method, path, json=BODY, headers=KEY).status_code == 503
        stopping.fails_before = False
        assert api.request(method, path, json=BODY, headers=KEY).status_code in {201, 202}
    assert world.store.count_active() == 1


def test_a_request_that_died_is_taken_over_after_a_minute(world: World, stopping: StoppingStore) -> None:
    """The first process never answers; when it wakes up after all, its job is the one of the second."""
    with world.client() as api:
        with create_in_flight(api, stopping, "POST", "/jobs") as statuses:
            world.clock.advance(61)
            stopping.go_on.set()
            answer = api.post("/jobs", json=BODY, headers=KEY)
        assert {answer.status_code, *statuses} == {200, 202}
    (record,) = world.store.active()
    assert record_from_manifest(world.storage.objects[manifest_key(record.id)]).spec == record.spec


def test_a_storage_outage_while_the_key_is_taken_is_no_lasting_refusal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.client() as api:
        with monkeypatch.context() as patch:
            patch.setattr(world.storage, "put", _away)
            assert api.post("/jobs", json=BODY, headers=KEY).status_code == 503
        assert api.post("/jobs", json=BODY, headers=KEY).status_code == 202


def _away(*_: object) -> None:
    raise StorageUnavailable


# --- PUT /jobs/{id} --------------------------------------------------------------------------------------------------


def test_a_job_can_have_an_id_of_its_client(api: TestClient, world: World) -> None:
    first = api.put("/jobs/trailer-7", json=BODY)
    again = api.put("/jobs/trailer-7", json=BODY)
    assert (first.status_code, first.json()["id"]) == (201, "trailer-7")
    assert first.headers["location"] == f"{BASE_URL}/jobs/trailer-7"
    assert (again.status_code, again.json()["request"]) == (200, first.json()["request"])
    assert world.store.count_active() == 1
    assert api.get("/jobs/trailer-7").status_code == 200


def test_another_request_for_an_id_is_a_conflict(api: TestClient) -> None:
    api.put("/jobs/trailer-7", json=BODY)
    answer = api.put("/jobs/trailer-7", json={**BODY, "num_frames": 48})
    assert (answer.status_code, answer.json()["code"], bool(answer.json()["fix"])) == (409, "job_exists", True)


def test_a_job_that_a_post_made_can_be_put_again(api: TestClient) -> None:
    job_id = api.post("/jobs", json=BODY).json()["id"]
    assert api.put(f"/jobs/{job_id}", json=BODY).status_code == 200


def test_a_job_of_an_older_version_is_another_one(api: TestClient, world: World) -> None:
    job_id = api.post("/jobs", json=BODY).json()["id"]
    record = world.store.memory.records[job_id]
    world.store.memory.records[job_id] = record.model_copy(update={"request_sha256": None})
    assert api.put(f"/jobs/{job_id}", json=BODY).json()["code"] == "job_exists"


def test_the_id_of_a_deleted_job_is_not_free_for_a_day(api: TestClient, world: World) -> None:
    api.put("/jobs/trailer-7", json=BODY)
    api.delete("/jobs/trailer-7")
    answer = api.put("/jobs/trailer-7", json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (409, "job_deleted")
    world.clock.advance(24 * 3600 + 61)
    world.store.purge("trailer-7")
    world.store.remove_tombstone("trailer-7")
    assert api.put("/jobs/trailer-7", json=BODY).status_code == 201


def test_a_refused_request_leaves_its_id_free(api: TestClient) -> None:
    assert api.put("/jobs/mine", json={**BODY, "num_frames": 3}).status_code == 422
    assert api.put("/jobs/mine", json=BODY).status_code == 201


@pytest.mark.parametrize("job_id", ["-a", "_a", "a.b", "a%20b", "a:b", "a" * 65, "caf%C3%A9", "a%C2%85", "%E2%80%AE"])
def test_what_cannot_be_an_id_is_refused(api: TestClient, world: World, job_id: str) -> None:
    answer = api.put(f"/jobs/{job_id}", json=BODY)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid_field", "job_id")
    assert world.store.count_active() == 0


# --- ?dry_run=true ---------------------------------------------------------------------------------------------------


def test_a_plan_creates_nothing(api: TestClient, world: World) -> None:
    answer = api.post("/jobs?dry_run=true", json={**BODY, "prompt": "a (red:1.4) circle"}, headers=KEY)
    plan = answer.json()
    assert answer.status_code == 200
    assert (plan["num_chunks"], plan["last_chunk_frames"], plan["estimate"]) == (3, 8, None)
    assert (plan["request"]["num_frames"], plan["warnings"][0]["code"]) == (40, "foreign_syntax")
    assert (world.store.count_active(), world.queue.messages, world.storage.objects) == (0, [], {})
    assert api.post("/jobs", json=BODY, headers=KEY).status_code == 202


def test_a_plan_estimates_from_what_was_measured(api: TestClient, world: World) -> None:
    world.speeds.report("fake", "first", 2.0)
    world.speeds.report("fake", "next", 0.5)
    plan = api.post("/jobs?dry_run=true", json={**BODY, "num_inference_steps": 4}).json()
    steps = plan["request"]["first_chunk"]["num_inference_steps"]
    assert plan["estimate"] == {"seconds_per_chunk": 2.0, "seconds_total": 2.0 * steps + 2 * 2.0}


def test_a_plan_of_a_bad_request_is_refused_like_the_job(api: TestClient) -> None:
    answer = api.post("/jobs?dry_run=true", json={**BODY, "num_frames": 3})
    assert (answer.status_code, answer.json()["code"]) == (422, "too_few_frames")


def test_dry_run_is_true_or_false(api: TestClient) -> None:
    answer = api.post("/jobs?dry_run=perhaps", json=BODY)
    assert (answer.status_code, answer.json()["field"]) == (422, "dry_run")
    assert answer.json()["fix"] == "give true or false"
    assert api.post("/jobs?dry_run=false", json=BODY).status_code == 202


# --- Prefer: wait ----------------------------------------------------------------------------------------------------


def test_an_answer_can_wait_for_the_end(api: TestClient, world: World) -> None:
    def work() -> None:
        eventually(lambda: [*world.store.active()] or None, "the job")
        (record,) = world.store.active()
        world.finish(record.id)

    worker = threading.Thread(target=work)
    worker.start()
    answer = api.post("/jobs", json=BODY, headers={"Prefer": "wait=30"})
    worker.join()
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=30"
    assert "retry-after" not in answer.headers


def test_after_the_wait_an_unfinished_job_is_accepted(api: TestClient) -> None:
    answer = api.post("/jobs", json=BODY, headers={"Prefer": "respond-async, wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "respond-async, wait=1"


def test_a_wait_has_a_cap(world: World) -> None:
    with world.client(world.settings.model_copy(update={"max_wait_seconds": 1})) as api:
        answer = api.post("/jobs", json=BODY, headers={"Prefer": "wait=1000"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")


def test_too_many_waits_are_answered_at_once(world: World) -> None:
    with world.client(world.settings.model_copy(update={"max_event_streams_per_address": 1})) as api:
        first = threading.Thread(target=submit_and_wait, args=(api,))
        first.start()
        eventually(lambda: waits(api) > 0, "a wait")
        answer = api.post("/jobs", json=BODY, headers={"Prefer": "wait=30"})
        assert (answer.status_code, "preference-applied" in answer.headers) == (202, False)
        for record in world.store.active():
            world.finish(record.id)
        first.join()


def waits(api: TestClient) -> int:
    app = cast(FastAPI, api.app)
    return cast(Streams, app.state.streams).limit.in_use


def submit_and_wait(api: TestClient) -> None:
    api.post("/jobs", json=BODY, headers={"Prefer": "wait=30"})


def test_respond_async_alone_is_what_happens_anyway(api: TestClient) -> None:
    answer = api.post("/jobs", json=BODY, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")


def test_a_put_waits_as_well(api: TestClient, world: World) -> None:
    api.put("/jobs/mine", json=BODY)
    world.finish("mine")
    answer = api.put("/jobs/mine", json=BODY, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=30"


def test_a_job_that_is_deleted_during_the_wait_is_not_found(api: TestClient, world: World) -> None:
    def delete() -> None:
        eventually(lambda: [*world.store.active()] or None, "the job")
        (record,) = world.store.active()
        eventually(lambda: waits(api) > 0, "the wait")
        api.delete(f"/jobs/{record.id}")

    other = threading.Thread(target=delete)
    other.start()
    answer = api.post("/jobs", json=BODY, headers={"Prefer": "wait=30"})
    other.join()
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
