"""Webhooks as a receiver sees them: signed, sent once, retried with the same id."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from core.service.domain import webhooks
from core.service.domain.webhook_secret import generate_secret
from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.webhook_receiver import HANG, Attempt, WebhookReceiver, receiving_webhooks


def verifies(service: Service, attempt: Attempt) -> bool:
    return webhooks.verify(service.webhook_secret, attempt.headers, attempt.body, 300, datetime.now(UTC))


def test_the_end_of_a_job_is_sent_once_and_signed(service: Service, receiver: WebhookReceiver) -> None:
    job = service.submit(num_frames=16, webhook_url=receiver.url)
    attempt = eventually(receiver.first, "the webhook")
    assert verifies(service, attempt)
    assert attempt.payload["type"] == "job.succeeded"
    assert attempt.payload["data"]["id"] == job.id
    assert receiver.types() == ["job.succeeded"]


def test_a_changed_body_does_not_verify(service: Service, receiver: WebhookReceiver) -> None:
    service.submit(num_frames=16, webhook_url=receiver.url)
    attempt = eventually(receiver.first, "the webhook")
    forged = Attempt(attempt.headers, attempt.body.replace("job.succeeded", "job.failed"), 204)
    assert not verifies(service, forged)


def test_every_chunk_has_a_webhook_if_requested(service: Service, receiver: WebhookReceiver) -> None:
    service.submit(num_frames=48, webhook_url=receiver.url, webhook_events=["chunk.completed", "job.succeeded"])
    eventually(lambda: len(receiver.tries) == 4, "three chunks and the end")
    chunks = [
        attempt.payload["data"]["chunk"] for attempt in receiver.tries if attempt.payload["type"] == "chunk.completed"
    ]
    assert sorted(chunk["index"] for chunk in chunks) == [0, 1, 2]
    assert "url" not in receiver.tries[0].payload["data"]["chunk"]
    assert all(verifies(service, attempt) for attempt in receiver.tries)


def test_a_receiver_that_fails_is_called_again_with_the_same_id(service: Service) -> None:
    with receiving_webhooks(answers=[500]) as receiver:
        service.submit(num_frames=16, webhook_url=receiver.url)
        eventually(lambda: len(receiver.tries) == 2, "the second try")
        first, second = receiver.tries
    assert (first.answered, second.answered) == (500, 204)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert verifies(service, second)


def test_a_cancel_is_reported(service: Service, receiver: WebhookReceiver) -> None:
    job = service.submit(model="slow", num_frames=160, webhook_url=receiver.url)
    service.wait_for_chunks(job.id, 1)
    service.http.post(f"/jobs/{job.id}/cancel")
    eventually(lambda: receiver.types() == ["job.canceled"], "the webhook")


def test_a_jobs_own_secret_signs_its_webhooks(service: Service, receiver: WebhookReceiver) -> None:
    secret = generate_secret()
    service.submit(num_frames=16, webhook_url=receiver.url, webhook_secret=secret)
    attempt = eventually(receiver.first, "the webhook")
    event = Webhook(secret).verify(attempt.body, {**attempt.headers})
    assert event == attempt.payload
    assert not verifies(service, attempt)


def test_a_webhook_is_sent_again_on_request_and_its_attempts_are_shown(
    service: Service, receiver: WebhookReceiver
) -> None:
    job = service.submit(num_frames=16, webhook_url=receiver.url)

    def attempts() -> list[dict[str, Any]]:
        (delivery,) = service.http.get(f"/jobs/{job.id}/webhook-deliveries").json()["deliveries"]
        return delivery["attempts"] if delivery["state"] == "delivered" else []

    eventually(lambda: receiver.first() and attempts(), "the webhook")
    webhook_id = receiver.tries[0].headers["webhook-id"]
    assert service.http.post(f"/jobs/{job.id}/webhook-deliveries/{webhook_id}/redeliver").status_code == 202
    eventually(lambda: len(attempts()) == 2, "the second attempt")
    first, second = receiver.tries
    assert (second.headers["webhook-id"], second.body) == (webhook_id, first.body)
    assert verifies(service, second)
    assert [attempt["status_code"] for attempt in attempts()] == [204, 204]


def test_a_ping_reaches_the_receiver_and_tells_its_answer(service: Service) -> None:
    with receiving_webhooks(answers=[503]) as receiver:
        answer = service.http.post("/webhooks/ping", json={"webhook_url": receiver.url})
        assert answer.status_code == 202
        path = f"/webhooks/pings/{answer.json()['id']}"
        ended = eventually(lambda: service.http.get(path).json()["attempts"] or None, "the ping")
        assert [attempt["status_code"] for attempt in ended] == [503]
        assert service.http.get(path).json()["state"] == "failed"
        (sent,) = receiver.tries
    assert (sent.payload["type"], sent.payload["data"]) == ("ping", {"id": answer.json()["id"]})
    assert verifies(service, sent)


def test_webhooks_in_progress_of_a_killed_sender_are_sent_again_within_seconds(own_service: Service) -> None:
    """kill -9 in the midst of a try; another process goes on with it as soon as the hold has ended."""
    service = own_service
    service.start_worker("cpu")
    with receiving_webhooks(answers=[HANG]) as receiver:
        job = service.submit(num_frames=16, webhook_url=receiver.url)
        service.http.post(f"/jobs/{job.id}/cancel")
        first = eventually(receiver.first, "the first try")
        pid = next(worker.pid for worker in service.workers() if worker.kind == "cpu")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(receiver.tries) == 2, "the second try")
        second = receiver.tries[1]
    assert second.headers["webhook-id"] == first.headers["webhook-id"]
    assert second.at - first.at < 20
    assert receiver.types() == ["job.canceled"]
