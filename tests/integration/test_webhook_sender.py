"""Webhook deliveries are independent: real Redis, real sockets, any kind of receiver, one sender or two."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from pydantic import SecretStr

from cli.processes.embedded import EmbeddedRedis
from core.service.clock import SystemClock
from core.service.domain.ports import Delivery
from core.service.domain.schema import Lane
from core.service.domain.webhook_secret import generate_secret
from core.service.redis import keys
from core.service.redis.client import connect
from core.service.redis.job_store import RedisJobStore
from core.service.redis.outbox import RedisOutbox
from core.service.settings import Settings
from tests.helpers.deadline import eventually
from tests.helpers.hostile_receivers import ACCEPTING, FAILING, SILENT
from tests.helpers.jobs import chunk_of, queued_job
from tests.helpers.webhook_receiver import HANG, WebhookReceiver, receiving_webhooks
from tests.helpers.webhook_sender import OneShotSender
from worker.runtime.thread_shutdown import stop_together
from worker.webhooks.post import LookUp

PATIENCE_SECONDS = 300.0
"""The time that a receiver has for its answer: far more than `eventually` waits. What waits for one that says nothing
fails its test, and no test waits for the end of such a try: it lets the receiver go."""
NUM_GOOD = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


class Office:
    """Jobs with webhooks, and senders of them. `later`: how far the outbox' clock is ahead."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.store = RedisJobStore(client, SystemClock(), retention_seconds=600.0)
        self.settings = settings
        self.later = 0.0
        self._client = client
        self._num_jobs = 0

    def outbox(self) -> RedisOutbox:
        return RedisOutbox(self._client, now=lambda: SystemClock().now() + timedelta(seconds=self.later))

    @contextmanager
    def sending(self, senders: int = 1, look_up: LookUp | None = None) -> Generator[list[OneShotSender]]:
        clock = SystemClock()
        running = [
            OneShotSender(self.outbox(), self.store, clock, self.settings, look_up=look_up) for _ in range(senders)
        ]
        for sender in running:
            sender.start()
        try:
            yield running
        finally:
            stop_together(dict.fromkeys(running, 60.0))

    def job(self, url: str, **changes: Any) -> str:
        job = queued_job(self._num_jobs, webhook_url=url, **changes)
        self._num_jobs += 1
        return self.store.create(job).id

    def canceled_job(self, url: str) -> str:
        """A job that has one webhook to send."""
        job_id = self.job(url, webhook_events=("job.canceled",))
        self.store.request_cancel(job_id)
        return job_id

    def backlog(self, urls: Sequence[str], of_each: int) -> None:
        """So many webhooks that were due an hour ago, each of a job of its own, without all the rest of a job."""
        example = self.only(self.canceled_job("http://example.com"))
        with self._client.pipeline(transaction=False) as pipe:
            for number, url in enumerate(url for url in urls for _ in range(of_each)):
                row = example.model_copy(update={"job_id": f"job_{number}", "id": f"msg_{number}_0_done", "url": url})
                pipe.hset(keys.deliveries_key(row.job_id), row.id, row.model_dump_json())
                pipe.zadd(keys.OUTBOX_DUE, {keys.outbox_member(row.job_id, row.id): time.time() - 3600})
            pipe.delete(keys.deliveries_key(example.job_id))
            pipe.execute()

    def chunk(self, job_id: str, index: int) -> None:
        lease = self.store.claim(job_id, Lane.GENERATE, "w1", 60)
        assert lease is not None
        self.store.commit_chunk(lease, chunk_of(self.store.get(job_id), index), "f1")

    def only(self, job_id: str) -> Delivery:
        (delivery,) = self.outbox().of_job(job_id)
        return delivery

    def tried(self, job_id: str) -> Delivery | None:
        delivery = self.only(job_id)
        return delivery if delivery.attempts else None

    def is_delivered(self, job_id: str) -> bool:
        return all(row.state == "delivered" for row in self.outbox().of_job(job_id))


@pytest.fixture
def office(server: EmbeddedRedis) -> Iterator[Office]:
    with connect(server.url()) as client:
        client.flushall()
        yield Office(
            client,
            Settings(
                webhook_secret=SecretStr(generate_secret()),
                webhook_allow_private_addresses=True,
                webhook_timeout_seconds=PATIENCE_SECONDS,
            ),
        )


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}/hook"


def check_good_ones(office: Office, receiver: WebhookReceiver, sender: OneShotSender) -> None:
    """Some new webhooks arrive, and are recorded, while whatever hangs goes on hanging."""
    before = len(receiver.tries)
    jobs = [office.canceled_job(receiver.url) for _ in range(NUM_GOOD)]
    sender.wake()
    arrive = lambda: len(receiver.tries) - before >= NUM_GOOD  # noqa: E731
    eventually(arrive, f"{NUM_GOOD} webhooks of a good receiver")
    eventually(lambda: all(map(office.is_delivered, jobs)), "their records")


def check_none_came_twice(receiver: WebhookReceiver) -> None:
    counts = Counter(attempt.headers["webhook-id"] for attempt in receiver.tries)
    assert max(counts.values()) == 1, counts.most_common(3)


def test_receivers_of_every_kind_delay_no_other_and_each_failure_stays_its_own(
    office: Office, receiver: WebhookReceiver
) -> None:
    with office.sending() as (sender,), ExitStack() as hostile:
        urls = {kind: url_of(hostile.enter_context(make())) for kind, make in (SILENT | FAILING | ACCEPTING).items()}
        jobs = {kind: [office.canceled_job(url) for _ in range(3)] for kind, url in urls.items()}
        for _ in range(3):
            check_good_ones(office, receiver, sender)
        tried = {
            kind: [eventually(lambda job=job: office.tried(job), f"a try of: {kind}") for job in jobs[kind]]
            for kind in (FAILING | ACCEPTING)
        }
        assert not any(office.tried(job) for kind in SILENT for job in jobs[kind]), "nobody has waited for these"
    check_none_came_twice(receiver)
    states = {kind: {row.state for row in rows} for kind, rows in tried.items()}
    assert states == {kind: {"delivered" if kind in ACCEPTING else "pending"} for kind in tried}
    words = {kind: {row.attempts[0].error for row in rows} for kind, rows in tried.items()}
    assert words["is no HTTP server"] == {"the response is not HTTP/1.1 (RemoteProtocolError)"}
    assert words["has broken headers"] == {"the response is not HTTP/1.1 (RemoteProtocolError)"}
    assert words["floods with 100 Continue"] == {"the response has more than 65536 bytes of headers (TooManyBytes)"}
    assert tried["redirects to xn--"][0].attempts[0].status_code == 302
    assert tried["has a Retry-After beyond all time"][0].attempts[0].status_code == 503


def test_receivers_that_use_up_their_time_are_given_up(office: Office) -> None:
    office.settings = office.settings.model_copy(update={"webhook_timeout_seconds": 2.0})
    with ExitStack() as hostile:
        urls = [url_of(hostile.enter_context(make())) for make in SILENT.values()]
        jobs = [office.canceled_job(url) for url in urls for _ in range(3)]
        with office.sending():
            tried = [eventually(lambda job=job: office.tried(job), "the try to end") for job in jobs]
    assert {(row.state, row.attempts[0].error) for row in tried} == {("pending", "no answer within 2 s")}


def test_a_thousand_webhooks_to_a_receiver_that_hangs_never_fill_the_sender(
    office: Office, receiver: WebhookReceiver
) -> None:
    share = office.settings.webhook_concurrency_per_receiver
    with receiving_webhooks(answers=[HANG] * 5000) as hanging:
        office.backlog([hanging.url], 1000)
        with office.sending() as (sender,), ExitStack() as finally_:
            finally_.callback(hanging.over.set)
            eventually(lambda: len(hanging.tries) >= share, "the share of one receiver")
            for _ in range(3):
                check_good_ones(office, receiver, sender)
            assert len(hanging.tries) == share
    check_none_came_twice(receiver)


@contextmanager
def hanging_everywhere() -> Generator[int]:
    """A port of all loopback addresses where connections are made, and no more."""
    with socket.create_server(("", 0), backlog=4096) as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("names", "of_each"),
    [
        ([f"h{number}.dead.example" for number in range(300)], 15),
        ([f"hooks.dead{number}.example" for number in range(8)], 510),
    ],
    ids=["many names of one domain", "several domains"],
)
def test_a_backlog_of_receivers_that_hang_delays_no_other(
    office: Office, receiver: WebhookReceiver, names: list[str], of_each: int
) -> None:
    """Their names lead to a few addresses each has for itself, and all that waits for them is older."""
    address_of = {name: f"127.0.1.{number % 8}" for number, name in enumerate(names)}

    async def look_up(url: str) -> Sequence[str]:
        return [address_of.get(str(urlsplit(url).hostname), "127.0.0.1")]

    with ExitStack() as hanging:
        port = hanging.enter_context(hanging_everywhere())
        office.backlog([f"http://{name}:{port}/" for name in names], of_each)
        with office.sending(look_up=look_up) as (sender,), hanging:
            for _ in range(4):
                check_good_ones(office, receiver, sender)
    check_none_came_twice(receiver)


def test_events_of_a_job_arrive_in_order_also_after_an_outage_of_the_receiver(office: Office) -> None:
    with receiving_webhooks(answers=[503, 503]) as receiver, office.sending() as (sender,):
        job_id = office.job(receiver.url, num_frames=160, webhook_events=("chunk.completed",))
        for index in range(6):
            office.chunk(job_id, index)
            sender.wake()
        for num_tries, pause_seconds in ((1, 7), (2, 40)):
            eventually(lambda num=num_tries: _noted(office, job_id) == num, "a refused try")
            assert len(receiver.tries) == num_tries
            office.later += pause_seconds
            sender.wake()
        eventually(lambda: office.is_delivered(job_id), "all six events")
    told = [json.loads(attempt.body)["data"]["chunk"]["index"] for attempt in receiver.tries]
    assert told == [0, 0, 0, 1, 2, 3, 4, 5]
    assert office.store.get(job_id).webhooks_ended == 6


def _noted(office: Office, job_id: str) -> int:
    return sum(len(row.attempts) for row in office.outbox().of_job(job_id))


def test_a_receiver_that_answered_410_gets_no_further_webhooks_of_the_job(office: Office) -> None:
    with receiving_webhooks(answers=[204, 410]) as receiver, office.sending() as (sender,):
        job_id = office.job(receiver.url, num_frames=160, webhook_events=("chunk.completed",))
        for index in range(4):
            office.chunk(job_id, index)
        sender.wake()
        states = ["delivered", "disabled", "disabled", "disabled"]
        eventually(lambda: [row.state for row in office.outbox().of_job(job_id)] == states, "the rest to be disabled")
    assert [attempt.answered for attempt in receiver.tries] == [204, 410]


def test_two_senders_send_each_webhook_once(office: Office, receiver: WebhookReceiver) -> None:
    jobs = [office.canceled_job(receiver.url) for _ in range(100)]
    with office.sending(senders=2):
        eventually(lambda: all(map(office.is_delivered, jobs)), "100 webhooks")
    check_none_came_twice(receiver)
    assert len(receiver.tries) == 100


def test_a_try_that_takes_longer_than_the_hold_is_not_made_by_another_sender_too(office: Office) -> None:
    office.settings = office.settings.model_copy(update={"webhook_timeout_seconds": 9.0})
    with receiving_webhooks(answers=[HANG]) as receiver, office.sending(senders=2):
        job_id = office.canceled_job(receiver.url)
        delivery = eventually(lambda: office.tried(job_id), "the try to end")
        assert delivery.attempts[0].error == "no answer within 9 s"
        assert len(receiver.tries) == 1


def test_new_webhooks_are_due_at_once_whatever_the_clock_of_their_writer_says(
    server: EmbeddedRedis, office: Office, receiver: WebhookReceiver
) -> None:
    class FastClock(SystemClock):
        def now(self) -> Any:
            return super().now() + timedelta(hours=1)

    with connect(server.url()) as client:
        office.store = RedisJobStore(client, FastClock(), retention_seconds=600.0)
        job_id = office.canceled_job(receiver.url)
        sender = OneShotSender(RedisOutbox(client), office.store, SystemClock(), office.settings)
        assert sender.deliver_due() == 1
        assert office.is_delivered(job_id)
