"""Deliveries, redelivery and pings over HTTP, and the secret of a job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from core.service.domain.ports import Delivery, DeliveryAttempt
from core.service.testing.outbox import FakeOutbox
from tests.helpers.api_world import World, submit
from tests.helpers.callers import Callers, path_of
from tests.helpers.customers import with_keys
from tests.helpers.webhook_office import secret_named

HOOK = "https://example.com/hook"
EVERY_EVENT = ["chunk.completed", "job.succeeded"]
SECRET = secret_named("request")


def delivered(world: World, delivery: Delivery, status: int = 204) -> Delivery:
    """The outcome of an attempt."""
    outbox = FakeOutbox(world.store, world.clock)
    attempt = DeliveryAttempt(at=world.clock.now(), status_code=status, error=None, duration_seconds=0.25)
    state = "delivered" if status < 300 else "failed"
    attempts = (*delivery.attempts, attempt)
    after = delivery.model_copy(update={"state": state, "attempts": attempts, "next_attempt_at": None})
    outbox.record(after)
    return after


def deliver_all(world: World, status: int = 204) -> list[Delivery]:
    outbox = FakeOutbox(world.store, world.clock)
    done = list[Delivery]()
    while due := outbox.take_due(10, 6.0):
        done += [delivered(world, delivery, status) for delivery in due]
    return done


def finished(api: TestClient, world: World, **fields: Any) -> str:
    job_id = submit(api, num_frames=32, webhook_url=HOOK, webhook_events=EVERY_EVENT, **fields)
    world.finish(job_id)
    world.queue.messages.clear()
    return job_id


# Deliveries


def test_a_job_shows_its_webhooks_newest_first_with_their_attempts(api: TestClient, world: World) -> None:
    job_id = finished(api, world)
    deliver_all(world)
    answer = api.get(f"/jobs/{job_id}/webhook-deliveries")
    assert answer.status_code == 200
    shown = answer.json()
    assert [row["event"] for row in shown["deliveries"]] == ["job.succeeded", "chunk.completed", "chunk.completed"]
    newest = shown["deliveries"][0]
    assert (newest["url"], newest["state"], newest["next_attempt_at"]) == (HOOK, "delivered", None)
    (attempt,) = newest["attempts"]
    assert (attempt["status_code"], attempt["error"], attempt["duration_seconds"]) == (204, None, 0.25)
    assert (shown["next_cursor"], shown["dropped"]) == (None, 0)


def test_pages_lead_to_one_another(api: TestClient, world: World) -> None:
    job_id = finished(api, world)
    first = api.get(f"/jobs/{job_id}/webhook-deliveries?limit=2")
    assert len(first.json()["deliveries"]) == 2
    link = first.headers["Link"]
    assert link.endswith('; rel="next"')
    second = api.get(link.split("<")[1].split(">")[0])
    assert [row["event"] for row in second.json()["deliveries"]] == ["chunk.completed"]
    assert "Link" not in second.headers


@pytest.mark.parametrize(
    ("query", "field"), [("cursor=x", "cursor"), ("limit=0", "limit"), ("limit=101", "limit"), ("state=x", "state")]
)
def test_other_parameters_are_refused_by_name(api: TestClient, world: World, query: str, field: str) -> None:
    answer = api.get(f"/jobs/{finished(api, world)}/webhook-deliveries?{query}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_webhooks_of_an_unknown_job_are_not_found(api: TestClient) -> None:
    for answer in (
        api.get("/jobs/job_unknown/webhook-deliveries"),
        api.post("/jobs/job_unknown/webhook-deliveries/msg_a_1_job_succeeded/redeliver"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


# Sending again


def test_a_delivered_webhook_is_sent_again_under_its_id(api: TestClient, world: World) -> None:
    job_id = finished(api, world)
    newest = deliver_all(world)[-1]
    answer = api.post(f"/jobs/{job_id}/webhook-deliveries/{newest.id}/redeliver")
    assert answer.status_code == 202
    assert (answer.json()["id"], answer.json()["state"], len(answer.json()["attempts"])) == (newest.id, "pending", 1)
    assert [message.task for message in world.queue.messages] == ["longtake.deliver_webhooks"]
    (again,) = deliver_all(world, status=500)
    assert (again.id, again.body) == (newest.id, newest.body)


def test_a_webhook_that_is_being_sent_is_not_sent_again(api: TestClient, world: World) -> None:
    job_id = finished(api, world)
    (first,) = FakeOutbox(world.store, world.clock).take_due(10, 6.0)
    answer = api.post(f"/jobs/{job_id}/webhook-deliveries/{first.id}/redeliver")
    assert (answer.status_code, answer.json()["code"]) == (409, "delivery_conflict")
    assert answer.json()["fix"]


def test_a_webhook_that_does_not_exist_is_not_found(api: TestClient, world: World) -> None:
    answer = api.post(f"/jobs/{finished(api, world)}/webhook-deliveries/msg_nowhere/redeliver")
    assert (answer.status_code, answer.json()["code"]) == (404, "delivery_not_found")


# Pings


def test_a_ping_is_sent_and_tells_its_result(api: TestClient, world: World) -> None:
    answer = api.post("/webhooks/ping", json={"webhook_url": HOOK})
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["url"], answer.json()["attempts"]) == ("pending", HOOK, [])
    assert [message.task for message in world.queue.messages] == ["longtake.deliver_webhooks"]
    (sent,) = deliver_all(world, status=500)
    assert sent.event_type == "ping"
    result = api.get(answer.headers["Location"]).json()
    assert (result["id"], result["state"]) == (answer.json()["id"], "failed")
    assert result["attempts"][0]["status_code"] == 500


def test_a_ping_is_seen_by_the_key_that_asked_for_it_and_by_the_operator(world: World) -> None:
    callers = Callers(create_app(with_keys(world.settings), world.ports()), world)
    location = path_of(callers.one.post("/webhooks/ping", json={"webhook_url": HOOK}).headers["Location"])
    clients = (callers.one, callers.other, callers.admin)
    assert [client.get(location).status_code for client in clients] == [200, 404, 200]


def test_a_ping_is_forgotten_after_an_hour(api: TestClient, world: World) -> None:
    location = api.post("/webhooks/ping", json={"webhook_url": HOOK}).headers["Location"]
    world.clock.advance(timedelta(hours=1).total_seconds())
    answer = api.get(location)
    assert (answer.status_code, answer.json()["code"]) == (404, "ping_not_found")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_field", "webhook_url"),
        ({"webhook_url": 5}, "invalid_field", "webhook_url"),
        ({"webhook_url": "ftp://example.com"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": "https://host.internal/hook"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": "https://example.com:22/hook"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": "https://example.com/\u202e"}, "invalid_field", "webhook_url"),
        ({"webhook_url": HOOK, "webhook_secret": "hunter2"}, "invalid_field", "webhook_secret"),
        ({"webhook_url": HOOK, "url": HOOK}, "unknown_field", "url"),
    ],
)
def test_a_ping_that_may_not_be_sent_is_refused(
    api: TestClient, world: World, body: dict[str, Any], code: str, field: str
) -> None:
    answer = api.post("/webhooks/ping", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, code, field)
    assert "hunter2" not in answer.text
    assert world.queue.messages == []


def test_many_pings_are_too_many(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.service.testing.deliveries.MAX_PINGS", 1)
    assert api.post("/webhooks/ping", json={"webhook_url": HOOK}).status_code == 202
    answer = api.post("/webhooks/ping", json={"webhook_url": HOOK})
    assert (answer.status_code, answer.json()["code"]) == (429, "limit_reached")


# The secret of a job


def test_a_jobs_own_secret_goes_with_its_webhooks_and_is_in_no_answer(api: TestClient, world: World) -> None:
    job_id = finished(api, world, webhook_secret=SECRET)
    assert world.store.get(job_id).webhook_secret == SECRET
    assert {row.secret for row in world.store.memory.deliveries.values()} == {SECRET}
    paths = ("", "/chunks", "/events", "/webhook-deliveries", "?include=chunks")
    answers = [api.get(f"/jobs/{job_id}{path}") for path in paths] + [api.get("/jobs")]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert not any(SECRET.removeprefix("whsec_") in answer.text for answer in answers)


@pytest.mark.parametrize(
    "secret", ["", "hunter2", "whsec_", "whsec_hunter2", "whsec_" + "A" * 8, f"{SECRET} {SECRET}", "whsec_ä", "x" * 101]
)
def test_a_malformed_secret_is_refused_and_not_repeated(api: TestClient, secret: str) -> None:
    answer = api.post("/jobs", json={"prompt": "a red circle", "webhook_url": HOOK, "webhook_secret": secret})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert answer.json()["field"] == "webhook_secret"
    assert len(secret) < 7 or secret not in answer.text


def test_a_secret_without_a_webhook_is_refused(api: TestClient) -> None:
    answer = api.post("/jobs", json={"prompt": "a red circle", "webhook_secret": SECRET})
    assert (answer.status_code, answer.json()["field"]) == (422, "webhook_secret")
    assert "webhook_url" in answer.json()["fix"]


@pytest.mark.parametrize(
    ("change", "secret"),
    [
        ({}, SECRET),
        ({"webhook_url": "https://example.com/other"}, SECRET),
        ({"webhook_secret": None}, None),
        ({"webhook_url": None}, None),
    ],
)
def test_a_branch_has_the_secret_of_its_source_unless_it_names_another(
    api: TestClient, world: World, change: dict[str, Any], secret: str | None
) -> None:
    source = finished(api, world, webhook_secret=SECRET)
    answer = api.post(f"/jobs/{source}/branch", json={"from_chunk": 1, "seed": 8, **change})
    assert answer.status_code == 202, answer.text
    assert world.store.get(answer.json()["id"]).webhook_secret == secret


def test_a_branch_without_webhook_takes_no_secret(api: TestClient, world: World) -> None:
    source = finished(api, world)
    body = {"from_chunk": 1, "webhook_url": None, "webhook_secret": SECRET}
    answer = api.post(f"/jobs/{source}/branch", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "webhook_secret")
