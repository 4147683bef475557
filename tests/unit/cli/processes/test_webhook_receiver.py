"""The demo's webhook receiver, over a real socket."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from cli.processes.webhook_receiver import Receiver, WebhookMissing, running_receiver
from core.service.domain import webhooks
from core.service.domain.webhook_secret import generate_secret

SECRET = generate_secret()
BODY = '{"type":"job.succeeded","timestamp":"2026-01-02T03:04:05.000Z","data":{"id":"job_x"}}'


def post(receiver: Receiver, secret: str) -> int:
    headers = webhooks.headers(secret, "msg_1", int(datetime.now(UTC).timestamp()), BODY)
    return httpx.post(receiver.url, content=BODY, headers=headers, trust_env=False).status_code


def test_a_signed_webhook_is_accepted_and_handed_over() -> None:
    with running_receiver(SECRET) as receiver:
        assert post(receiver, SECRET) == 204
        assert receiver.wait_for_end("job_x", 5.0, lambda: None).type == "job.succeeded"


def test_a_wrong_signature_is_refused_and_counted() -> None:
    with running_receiver(SECRET) as receiver:
        assert post(receiver, generate_secret()) == 400
        with pytest.raises(WebhookMissing, match="1 with a wrong signature"):
            receiver.wait_for_end("job_x", 0.05, lambda: None)


def test_a_webhook_of_another_job_is_not_the_end() -> None:
    with running_receiver(SECRET) as receiver:
        post(receiver, SECRET)
        with pytest.raises(WebhookMissing):
            receiver.wait_for_end("job_y", 0.05, lambda: None)
