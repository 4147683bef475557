"""Webhooks of a job that belongs to an API key, on a running service: which secrets sign them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from tests.helpers.customers import ADMIN_KEY, bearer
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service
from tests.helpers.webhook_receiver import Attempt, WebhookReceiver


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("keyed-webhooks")
    write_fake_preset(folder / "presets", "fake")
    with running_service(folder, folder / "presets", default_model="fake", admin_key=SecretStr(ADMIN_KEY)) as service:
        service.start_workers("fake")
        yield service


def asked(service: Service, path: str, body: dict[str, object], text: str = ADMIN_KEY) -> dict[str, str]:
    answer = service.http.post(path, json=body, headers=bearer(text))
    assert answer.is_success, answer.text
    return answer.json()


def webhook_of(service: Service, receiver: WebhookReceiver, text: str) -> Attempt:
    """The webhook of a new job of the key with this text."""
    before = len(receiver.tries)
    asked(service, "/jobs", {"prompt": "a red square", "num_frames": 16, "webhook_url": receiver.url}, text)
    eventually(lambda: len(receiver.tries) > before, "the webhook")
    return receiver.tries[-1]


def signatures(attempt: Attempt) -> list[str]:
    return httpx.Headers(attempt.headers)["webhook-signature"].split()


def verifies(attempt: Attempt, secret: str) -> bool:
    try:
        Webhook(secret).verify(attempt.body, {**attempt.headers})
    except WebhookVerificationError:
        return False
    return True


def test_while_a_key_s_secret_is_replaced_two_sign_and_then_the_new_one(
    service: Service, receiver: WebhookReceiver
) -> None:
    made = asked(service, "/keys", {"name": "a customer"})
    first = webhook_of(service, receiver, made["key"])
    assert (len(signatures(first)), verifies(first, made["webhook_secret"])) == (1, True)
    path = f"/keys/{made['id']}/rotate-webhook-secret"
    newer = asked(service, path, {"grace_seconds": 600})["webhook_secret"]
    second = webhook_of(service, receiver, made["key"])
    assert len(signatures(second)) == 2
    assert verifies(second, made["webhook_secret"])
    assert verifies(second, newer)
    newest = asked(service, path, {"grace_seconds": 0})["webhook_secret"]
    third = webhook_of(service, receiver, made["key"])
    assert (len(signatures(third)), verifies(third, newest)) == (1, True)
    assert not any(verifies(attempt, service.webhook_secret) for attempt in receiver.tries)


def test_a_key_that_redis_has_lost_still_signs(service: Service, receiver: WebhookReceiver) -> None:
    """No request asks for the key meanwhile: the worker itself reads it from the object store."""
    made = asked(service, "/keys", {"name": "a customer"})
    first = webhook_of(service, receiver, made["key"])
    service.redis().flushall()
    eventually(lambda: len(receiver.tries) > 1, "the webhook of the rebuilt job to be sent again", seconds=60)
    again = receiver.tries[-1]
    assert httpx.Headers(again.headers)["webhook-id"] == httpx.Headers(first.headers)["webhook-id"]
    assert verifies(again, made["webhook_secret"])
