"""Webhooks as receivers verify them: whose secret signed, rotation, sending again, pings. Real HTTP on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.service.domain.api_keys import ApiKey, RetiredSecret, Scope
from core.service.domain.ports import Delivery
from core.service.domain.webhook_deliveries import new_ping
from core.service.domain.webhooks import TOLERANCE_SECONDS, verify
from core.service.testing.deliveries import FakeDeliveries
from tests.helpers.fake_world import JOB, World
from tests.helpers.webhook_office import SECRET, Office, Received, Receiver, running, secret_named

OF_A, OF_B, RETIRED, OF_REQUEST = map(secret_named, ("a", "b", "retired", "request"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as one:
        yield one


def api_key(world: World, name: str, secret: str, retired: RetiredSecret | None = None) -> ApiKey:
    return ApiKey(
        id=f"key_{name}",
        name=name,
        scope=Scope.JOBS,
        text_sha256="00",
        webhook_secret=secret,
        retired_webhook_secret=retired,
        created_at=world.clock.now(),
    )


def signers(world: World, request: Received) -> set[str]:
    """Which of the known secrets verify the webhook."""
    now, known = world.clock.now(), (SECRET, OF_A, OF_B, RETIRED, OF_REQUEST)
    return {one for one in known if verify(one, request.headers, request.body, TOLERANCE_SECONDS, now)}


def test_the_webhooks_of_a_key_verify_with_its_secret_alone(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    for name, secret in (("a", OF_A), ("b", OF_B)):
        office.keys.create(api_key(world, name, secret))
    office.submit(owner="key_a")
    office.chunk_done()
    office.sender.deliver_due()
    assert signers(world, receiver.received[0]) == {OF_A}


def test_while_a_secret_is_being_replaced_both_verify_and_then_the_new_one(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    until = world.clock.now() + timedelta(minutes=10)
    office.keys.create(api_key(world, "a", OF_A, RetiredSecret(value=RETIRED, valid_until=until)))
    office.submit(owner="key_a")
    office.chunk_done()
    office.sender.deliver_due()
    assert signers(world, receiver.received[0]) == {OF_A, RETIRED}
    assert len(receiver.received[0].headers["webhook-signature"].split()) == 2
    world.clock.advance(600)
    office.chunk_done()
    office.sender.deliver_due()
    assert signers(world, receiver.received[1]) == {OF_A}


def test_a_retry_is_signed_with_what_is_valid_then(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.keys.create(api_key(world, "a", OF_A))
    office.submit(owner="key_a")
    office.chunk_done()
    receiver.status = 500
    office.sender.deliver_due()
    office.keys.change("key_a", lambda key: key.model_copy(update={"webhook_secret": OF_B}))
    world.clock.advance(5)
    office.sender.deliver_due()
    assert [signers(world, request) for request in receiver.received[1:]] == [{OF_B}]


def test_a_jobs_own_secret_signs_in_place_of_its_keys(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.keys.create(api_key(world, "a", OF_A))
    office.submit(owner="key_a", webhook_secret=OF_REQUEST)
    office.chunk_done()
    office.sender.deliver_due()
    assert signers(world, receiver.received[0]) == {OF_REQUEST}


def test_nothing_is_sent_for_a_key_that_nobody_knows(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.submit(owner="key_gone")
    office.chunk_done()
    office.sender.deliver_due()
    assert receiver.received == []
    (attempt,) = office.only().attempts
    assert attempt.error == "the service has no usable signing secret"


# Sending again


def sent_again(office: Office) -> Delivery:
    deliveries = FakeDeliveries(office.world.store, office.world.clock)
    deliveries.send_again(JOB, office.only().id, office.world.clock.now())
    office.sender.deliver_due()
    return office.only()


def test_sending_again_has_the_same_id_and_body_and_a_new_timestamp(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    office.sender.deliver_due()
    world.clock.advance(90)
    assert sent_again(office).state == "delivered"
    first, second = receiver.received
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 90


@pytest.mark.parametrize(("status", "state"), [(204, "delivered"), (500, "failed")])
def test_sending_again_is_one_attempt_and_no_failure_takes_a_delivery_back(
    world: World, receiver: Receiver, status: int, state: str
) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    receiver.status = status
    while office.only().state == "pending":
        office.sender.deliver_due()
        world.clock.advance(24 * 3600)
    num_attempts, receiver.status = len(office.only().attempts), 503
    after = sent_again(office)
    assert (after.state, len(after.attempts), after.next_attempt_at) == (state, num_attempts + 1, None)
    assert office.sender.deliver_due() == 0


def test_a_failed_delivery_that_is_accepted_at_last_is_delivered(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    receiver.status = 500
    while office.only().state == "pending":
        office.sender.deliver_due()
        world.clock.advance(24 * 3600)
    receiver.status = 204
    assert sent_again(office).state == "delivered"


# Pings


@pytest.mark.parametrize(("owner", "secret", "signer"), [
    (None, None, SECRET), ("admin", None, SECRET), ("key_a", None, OF_A), ("key_a", OF_REQUEST, OF_REQUEST),
])  # fmt: skip
def test_a_ping_is_signed_as_the_webhooks_of_its_owner(
    world: World, receiver: Receiver, owner: str | None, secret: str | None, signer: str
) -> None:
    office = Office(world, receiver.port)
    office.keys.create(api_key(world, "a", OF_A))
    deliveries = FakeDeliveries(world.store, world.clock)
    ping = new_ping(office.url, owner, secret, world.clock.now())
    deliveries.add_ping(ping)
    office.sender.deliver_due()
    (request,) = receiver.received
    assert signers(world, request) == {signer}
    assert request.headers["webhook-id"] == ping.id
    body = json.loads(request.body)
    assert (body["type"], body["data"]) == ("ping", {"id": ping.job_id[1:]})
    assert deliveries.ping(ping.job_id).state == "delivered"


def test_a_ping_has_one_attempt(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    deliveries = FakeDeliveries(world.store, world.clock)
    ping = new_ping(office.url, None, None, world.clock.now())
    deliveries.add_ping(ping)
    receiver.status = 503
    office.sender.deliver_due()
    found = deliveries.ping(ping.job_id)
    assert (found.state, [attempt.status_code for attempt in found.attempts]) == ("failed", [503])
    world.clock.advance(60)
    assert office.sender.deliver_due() == 0
