"""Webhooks leave signed, to the checked address, and every outcome ends in the outbox. Real HTTP on loopback."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.service.domain.api_keys import ApiKey
from core.service.domain.errors import StoreDamaged
from core.service.domain.ports import Delivery
from core.service.domain.webhooks import TOLERANCE_SECONDS, verify
from core.service.net.resolver import BoundedResolver
from core.service.testing.api_keys import FakeApiKeys
from core.service.testing.deliveries import FakeDeliveries
from core.service.testing.outbox import FakeOutbox
from tests.helpers.canned_server import unreachable_port
from tests.helpers.deadline import eventually
from tests.helpers.fake_world import JOB, World
from tests.helpers.webhook_office import HOST, SECRET, Office, Receiver, resolve_to_loopback, running
from tests.helpers.webhook_sender import OneShotSender
from worker.runtime.thread_shutdown import stop_together
from worker.webhooks.delivery_loop import DAMAGED_SECONDS, OUTBOX_THREADS
from worker.webhooks.post import look_up_with, retry_after_seconds

TLS_FOLDER = Path(__file__).resolve().parents[3] / "references" / "tls"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as one:
        yield one


def test_a_delivery_is_signed_and_reaches_the_checked_address_under_its_own_host(
    world: World, receiver: Receiver
) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    assert office.sender.deliver_due() == 1
    (request,) = receiver.received
    assert request.path == "/hook?a=b"
    assert request.headers["host"] == f"{HOST}:{receiver.port}"
    assert request.body == office.only().body
    assert verify(SECRET, request.headers, request.body, TOLERANCE_SECONDS, world.clock.now())
    assert (office.only().state, office.only().next_attempt_at) == ("delivered", None)
    assert office.sender.deliver_due() == 0


def test_a_failed_try_is_noted_and_repeated_with_the_same_id_and_a_new_timestamp(
    world: World, receiver: Receiver
) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    receiver.status = 500
    office.sender.deliver_due()
    delivery = office.only()
    assert (delivery.state, delivery.attempts[0].status_code) == ("pending", 500)
    assert delivery.next_attempt_at == world.clock.now() + timedelta(seconds=5)
    assert office.sender.deliver_due() == 0
    world.clock.advance(5)
    receiver.status = 200
    office.sender.deliver_due()
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 5
    assert office.only().state == "delivered"


def test_a_receiver_that_never_recovers_fails_for_good_after_the_last_try(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    receiver.status = 503
    while office.only().state == "pending":
        office.sender.deliver_due()
        world.clock.advance(24 * 3600)
    assert (office.only().state, len(office.only().attempts)) == ("failed", 8)


def test_gone_disables_the_other_deliveries_of_the_job_too(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    receiver.status = 410
    office.sender.deliver_due()
    office.chunk_done()
    office.sender.deliver_due()
    assert [delivery.state for delivery in office.outbox.of_job(JOB)] == ["disabled", "disabled"]
    assert len(receiver.received) == 1


def test_a_410_to_one_that_is_sent_again_leaves_it_delivered_and_turns_the_job_off(
    world: World, receiver: Receiver
) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    office.sender.deliver_due()
    FakeDeliveries(world.store, world.clock).send_again(JOB, office.only().id, world.clock.now())
    receiver.status = 410
    office.sender.deliver_due()
    office.chunk_done()
    office.sender.deliver_due()
    assert [delivery.state for delivery in office.outbox.of_job(JOB)] == ["delivered", "disabled"]
    assert len(receiver.received) == 2


def test_retry_after_postpones_the_next_try(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    receiver.status, receiver.answer_headers = 429, {"retry-after": "90"}
    office.sender.deliver_due()
    assert office.only().next_attempt_at == world.clock.now() + timedelta(seconds=90)


def test_redirects_are_failures_and_are_not_followed(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    receiver.status, receiver.answer_headers = 302, {"location": f"http://127.0.0.1:{receiver.port}/inside"}
    office.sender.deliver_due()
    assert [request.path for request in receiver.received] == ["/hook?a=b"]
    assert office.only().attempts[0].status_code == 302


def test_an_endless_answer_is_not_read_to_its_end(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    receiver.status, receiver.answer_bytes = 200, 4_000_000
    office.sender.deliver_due()
    assert office.only().state == "delivered"


def test_a_silent_receiver_times_out_and_later_events_of_the_job_wait_their_turn(
    world: World, receiver: Receiver
) -> None:
    office = Office(world, receiver.port, timeout_seconds=0.2)
    office.chunk_done()
    office.chunk_done()
    receiver.hold = threading.Event()
    assert office.sender.deliver_due() == 1
    first, second = office.outbox.of_job(JOB)
    (attempt,) = first.attempts
    assert (attempt.status_code, attempt.error) == (None, "no answer within 0.2 s")
    assert attempt.duration_seconds >= 0.2
    assert not second.attempts


def test_a_dead_receiver_is_a_failed_try(world: World) -> None:
    with running(Receiver()) as receiver:
        office = Office(world, receiver.port)
    office.chunk_done()
    office.sender.deliver_due()
    (attempt,) = office.only().attempts
    assert attempt.status_code is None
    assert "Connect" in str(attempt.error)


@pytest.mark.parametrize(("host", "delivered"), [(HOST, True), ("other.example.com", False)])
def test_https_checks_the_certificate_against_the_name_not_the_address(
    world: World, host: str, delivered: bool
) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(TLS_FOLDER / "cert.pem", TLS_FOLDER / "key.pem")
    trusting = ssl.create_default_context(cafile=str(TLS_FOLDER / "cert.pem"))
    with running(Receiver(tls=server_tls)) as receiver:
        office = Office(world, receiver.port)
        office.url = f"https://{host}:{receiver.port}/hook"
        office.chunk_done()
        OneShotSender(
            office.outbox, world.store, world.clock, office.settings, look_up=resolve_to_loopback, tls=trusting
        ).deliver_due()
        assert [request.path for request in receiver.received] == (["/hook"] if delivered else [])
    assert (office.only().state == "delivered") is delivered


def test_an_address_that_became_private_is_refused_at_delivery(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.url = f"http://{HOST}/hook"
    office.chunk_done()
    resolver = BoundedResolver(resolve=lambda _host, _port: ["127.0.0.1"])
    look_up = look_up_with(resolver, office.settings)
    OneShotSender(office.outbox, world.store, world.clock, office.settings, look_up=look_up).deliver_due()
    assert receiver.received == []
    assert "one that is not allowed" in str(office.only().attempts[0].error)


def test_a_proxy_of_the_environment_is_not_asked(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    office = Office(world, receiver.port)
    office.chunk_done()
    office.sender.deliver_due()
    assert office.only().state == "delivered"


def test_without_a_secret_nothing_is_sent(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port, secret=None)
    office.chunk_done()
    office.sender.deliver_due()
    assert receiver.received == []
    assert (office.only().state, office.only().attempts[0].status_code) == ("pending", None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 0), ("120", 120), ("Sat, 21 Nov 2026 12:01:00 GMT", 60), ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
     ("soon", 0), ("-5", 0), ("99999999", 86400), ("9" * 5000, 86400), ("\u0665", 0), ("", 0), (b"\xff\xfe", 0),
     ("Mon, 01 Jan 2026 00:00:00 +99999999999999", 0), ("Mon, 99 Jan 99999999999999999999 00:00:00 GMT", 0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | bytes | None, seconds: float) -> None:
    assert retry_after_seconds(header, datetime(2026, 11, 21, 12, 0, tzinfo=UTC)) == seconds


def test_the_record_knows_how_many_webhooks_need_no_further_try(world: World, receiver: Receiver) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    office.chunk_done()
    office.sender.deliver_due()
    assert world.store.get(JOB).webhooks_ended == 2


def test_a_webhook_that_waits_for_its_next_try_is_not_counted(world: World, receiver: Receiver) -> None:
    receiver.status = 500
    office = Office(world, receiver.port)
    office.chunk_done()
    office.sender.deliver_due()
    assert world.store.get(JOB).webhooks_ended == 0


@pytest.mark.parametrize("dead", ["swallows", "refuses"])
def test_every_checked_address_is_tried(world: World, receiver: Receiver, dead: str) -> None:
    """The first address swallows all bytes or refuses; at the second there is no listener."""

    async def several(_url: str) -> Sequence[str]:
        return ["127.0.0.3", "127.0.0.2", "127.0.0.1"]

    office = Office(world, receiver.port, timeout_seconds=60.0)
    office.chunk_done()
    with unreachable_port("127.0.0.3", receiver.port) if dead == "swallows" else nullcontext():
        OneShotSender(office.outbox, world.store, world.clock, office.settings, look_up=several).deliver_due()
    assert office.only().state == "delivered"
    assert office.only().attempts[0].duration_seconds < 20, "what an address may use up if all have equal shares"
    assert len(receiver.received) == 1


def test_whatever_a_try_raises_is_its_own_failed_try(world: World, receiver: Receiver) -> None:
    """Unexpected errors too: here the look-up of one host raises one."""

    async def odd(url: str) -> Sequence[str]:
        if url == office.url:
            raise OverflowError("date value out of range")
        return ["127.0.0.1"]

    office = Office(world, 1)
    office.chunk_done()
    world.submit(
        "job_b", num_frames=16, webhook_url=f"http://{HOST}:{receiver.port}/b", webhook_events=("job.canceled",)
    )
    world.store.request_cancel("job_b")
    sender = OneShotSender(office.outbox, world.store, world.clock, office.settings, look_up=odd, jitter=lambda: 0.0)
    assert sender.deliver_due() == 2
    assert office.only().attempts[0].error == "the attempt failed: OverflowError"
    assert office.only().next_attempt_at == world.clock.now() + timedelta(seconds=5)
    assert [row.state for row in office.outbox.of_job("job_b")] == ["delivered"]


class BrokenOutbox(FakeOutbox):
    """Raises `errors`, one at each call of `record` or `hold`, until none is left."""

    def __init__(self, world: World, *errors: Exception) -> None:
        super().__init__(world.store, world.clock)
        self.errors = list(errors)
        self.num_holds = 0

    def record(self, delivery: Delivery, delay_seconds: float = 0.0) -> int:
        self._fail()
        return super().record(delivery, delay_seconds)

    def hold(self, deliveries: Sequence[Delivery], seconds: float) -> Sequence[Delivery]:
        self.num_holds += 1
        self._fail()
        return super().hold(deliveries, seconds)

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop()


def test_an_outcome_that_a_working_store_cannot_keep_is_not_written_again_and_again(
    world: World, receiver: Receiver
) -> None:
    office = Office(world, receiver.port)
    office.chunk_done()
    outbox = BrokenOutbox(world, StoreDamaged("Redis holds a key of another type"))
    sender = OneShotSender(outbox, world.store, world.clock, office.settings, look_up=resolve_to_loopback)
    assert sender.deliver_due() == 1
    assert office.only().state == "pending"
    world.clock.advance(DAMAGED_SECONDS - 1)
    assert sender.deliver_due() == 0, "the receiver would hear it every few seconds"
    world.clock.advance(2)
    assert sender.deliver_due() == 1
    assert office.only().state == "delivered"


def test_keys_that_cannot_be_read_delay_neither_holds_nor_webhooks_of_other_secrets(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.webhooks.delivery_loop.RENEW_SECONDS", 0.02)
    office = Office(world, receiver.port)
    for number in range(OUTBOX_THREADS + 1):
        office.canceled_job(f"job_{number}", owner="key_a")
    outbox, keys = BrokenOutbox(world), HangingKeys()
    sender = OneShotSender(outbox, world.store, world.clock, office.settings, keys, look_up=resolve_to_loopback).start()
    try:
        eventually(keys.is_asked.is_set, "a key to be read")
        office.canceled_job("job_of_everybody")
        eventually(lambda: len(receiver.received) == 1, "the webhook of another secret")
        before = outbox.num_holds
        eventually(lambda: outbox.num_holds > before + 2, "holds that are renewed")
    finally:
        keys.answers.set()
        stop_together({sender: 60.0})


class HangingKeys(FakeApiKeys):
    """Answers once `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.answers = threading.Event(), threading.Event()

    def get(self, key_id: str) -> ApiKey:
        self.is_asked.set()
        self.answers.wait(300)
        return super().get(key_id)


def test_the_lease_keeper_continues_whatever_one_call_raises(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.webhooks.delivery_loop.RENEW_SECONDS", 0.02)
    receiver.hold = threading.Event()
    office = Office(world, receiver.port)
    office.chunk_done()
    outbox = BrokenOutbox(world, ValueError("an answer that nobody has foreseen"))
    sender = OneShotSender(outbox, world.store, world.clock, office.settings, look_up=resolve_to_loopback).start()
    try:
        eventually(lambda: outbox.num_holds > 2, "holds after one that broke")
    finally:
        receiver.hold.set()
        stop_together({sender: 60.0})
