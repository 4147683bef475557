"""Which secrets sign a webhook."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.service.domain.api_keys import ApiKey, RetiredSecret, Scope
from core.service.domain.errors import StorageUnavailable, StoreUnavailable
from core.service.domain.ports import Delivery
from core.service.domain.schema import EventType
from core.service.domain.webhook_secret import generate_secret
from core.service.settings import Settings
from core.service.testing.api_keys import FakeApiKeys
from core.service.testing.clock import FakeClock
from worker.webhooks.signing import SigningSecrets

OF_DEPLOYMENT, OF_KEY, RETIRED, OF_REQUEST = (generate_secret() for _ in range(4))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def keys(clock: FakeClock) -> FakeApiKeys:
    made = FakeApiKeys()
    now = clock.now()
    made.create(
        ApiKey(
            id="key_a",
            name="a",
            scope=Scope.JOBS,
            text_sha256="00",
            webhook_secret=OF_KEY,
            retired_webhook_secret=RetiredSecret(value=RETIRED, valid_until=now + timedelta(hours=1)),
            created_at=now,
        )
    )
    return made


@pytest.fixture
def secrets(keys: FakeApiKeys, clock: FakeClock) -> SigningSecrets:
    return SigningSecrets(keys, Settings(webhook_secret=SecretStr(OF_DEPLOYMENT)), clock)


def delivery(owner: str | None = None, secret: str | None = None) -> Delivery:
    at = FakeClock().now()
    return Delivery(
        id="msg_a_1_job_succeeded",
        job_id="job_a",
        event_type=EventType.JOB_SUCCEEDED,
        url="https://example.com",
        body="{}",
        owner=owner,
        secret=secret,
        created_at=at,
        next_attempt_at=at,
    )


@pytest.mark.parametrize("owner", [None, "admin"])
def test_jobs_without_a_key_and_those_of_the_operator_have_the_secret_of_the_deployment(
    secrets: SigningSecrets, owner: str | None
) -> None:
    assert secrets.of(delivery(owner)) == OF_DEPLOYMENT


def test_while_a_secret_is_being_replaced_both_sign(secrets: SigningSecrets, clock: FakeClock) -> None:
    assert secrets.of(delivery("key_a")) == f"{OF_KEY} {RETIRED}"
    clock.advance(3600)
    assert secrets.of(delivery("key_a")) == OF_KEY


def test_the_secret_of_the_request_signs_alone(secrets: SigningSecrets) -> None:
    assert secrets.of(delivery("key_a", OF_REQUEST)) == secrets.of(delivery(None, OF_REQUEST)) == OF_REQUEST


def test_a_revoked_key_still_signs(secrets: SigningSecrets, keys: FakeApiKeys, clock: FakeClock) -> None:
    keys.change("key_a", lambda key: key.model_copy(update={"revoked_at": clock.now()}))
    assert OF_KEY in secrets.of(delivery("key_a"))


def test_a_key_that_is_unknown_is_never_replaced_by_the_deployments_secret(secrets: SigningSecrets) -> None:
    assert secrets.of(delivery("key_gone")) == ""


def test_without_any_secret_there_is_none(keys: FakeApiKeys, clock: FakeClock) -> None:
    assert SigningSecrets(keys, Settings(webhook_secret=None), clock).of(delivery()) == ""


def test_keys_that_cannot_be_read_now_are_an_outage_of_the_store(clock: FakeClock) -> None:
    class Away(FakeApiKeys):
        def get(self, key_id: str) -> ApiKey:
            raise StorageUnavailable(f"the storage has not answered for {key_id}")

    with pytest.raises(StoreUnavailable):
        SigningSecrets(Away(), Settings(), clock).of(delivery("key_a"))


def test_no_secret_is_in_the_text_of_a_delivery() -> None:
    assert OF_REQUEST not in repr(delivery(None, OF_REQUEST))
