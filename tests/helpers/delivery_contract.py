"""The contract of what clients see of their webhooks and do with them, for the real port and the fake.

A module that wants it run has a fixture `ports` (StorePorts) and a class `Test...(DeliveryContract)`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from core.service.domain.errors import DeliveryConflict, DeliveryNotFound, InvalidField, LimitReached, PingNotFound
from core.service.domain.ports import Delivery, DeliveryAttempt
from core.service.domain.ports.deliveries import PING_KEPT_SECONDS
from core.service.domain.schema import JobRecord
from core.service.domain.webhook_deliveries import new_ping
from tests.helpers.jobs import queued_job
from tests.helpers.store_contract.ports import HOOKED, LONG, StorePorts

URL = "https://example.com/hook"
FAR_SECONDS = 6 * 3600.0


def hooked_job(ports: StorePorts, number: int = 1, **more: Any) -> JobRecord:
    return ports.store.create(queued_job(number, **{**HOOKED, **more}))


def taken(ports: StorePorts) -> Delivery:
    (delivery,) = ports.outbox.take_due(10, LONG)
    return delivery


def ended(delivery: Delivery, state: str = "delivered", status: int = 204) -> Delivery:
    attempt = DeliveryAttempt(at=delivery.created_at, status_code=status, error=None, duration_seconds=0.1)
    attempts = (*delivery.attempts, attempt)
    return delivery.model_copy(update={"state": state, "attempts": attempts, "next_attempt_at": None})


def send_first(ports: StorePorts, state: str = "delivered", status: int = 204) -> Delivery:
    """The delivery that is due, with the outcome of its attempt."""
    delivery = ended(taken(ports), state, status)
    ports.outbox.record(delivery)
    return delivery


class DeliveryContract:
    """Every test gets fresh, empty `ports`."""

    # Pages

    def test_deliveries_are_paged_newest_first(self, ports: StorePorts) -> None:
        job = hooked_job(ports)
        ports.make_all_chunks(job)
        ports.finish(job)
        rows = [*reversed(ports.outbox.of_job(job.id))]
        assert len(rows) == 3
        first = ports.deliveries.page(job.id, 2)
        assert (first.deliveries, first.dropped) == (rows[:2], 0)
        assert first.next_cursor is not None
        last = ports.deliveries.page(job.id, 2, first.next_cursor)
        assert (last.deliveries, last.next_cursor) == (rows[2:], None)
        assert ports.deliveries.page(job.id, 3).next_cursor is None

    def test_a_job_without_webhooks_has_an_empty_page(self, ports: StorePorts) -> None:
        assert ports.deliveries.page("job_unknown", 10).deliveries == []

    @pytest.mark.parametrize("cursor", ["x", "msg_ä", "msg_", "msg_a b"])
    def test_another_cursor_is_refused(self, ports: StorePorts, cursor: str) -> None:
        with pytest.raises(InvalidField):
            ports.deliveries.page("job_a", 10, cursor)

    def test_a_cursor_whose_delivery_is_gone_goes_on_after_it(self, ports: StorePorts) -> None:
        job = hooked_job(ports)
        ports.make_all_chunks(job)
        first, second = ports.outbox.of_job(job.id)
        assert ports.deliveries.page(job.id, 10, f"msg_-_{second.order[0]}_a").deliveries == [first]

    # Sending again

    @pytest.mark.parametrize(("state", "status"), [("delivered", 204), ("failed", 500)])
    def test_a_delivery_that_has_ended_is_due_again_under_its_id(
        self, ports: StorePorts, state: str, status: int
    ) -> None:
        job = hooked_job(ports)
        ports.make_chunk(job, 0)
        before = send_first(ports, state, status)
        again = ports.deliveries.send_again(job.id, before.id, ports.clock.now())
        assert (again.id, again.body, again.state, again.once) == (before.id, before.body, "pending", True)
        assert again.attempts == before.attempts
        assert ports.outbox.of_job(job.id) == [again]
        assert taken(ports) == again

    def test_what_is_sent_again_goes_before_what_waits_and_is_counted_once(self, ports: StorePorts) -> None:
        job = hooked_job(ports)
        ports.make_all_chunks(job)
        first = send_first(ports)
        second = taken(ports)
        assert ports.outbox.record(ended(second, "pending", 500), FAR_SECONDS) == 1
        ports.deliveries.send_again(job.id, first.id, ports.clock.now())
        again = taken(ports)
        assert again.id == first.id
        assert ports.outbox.record(ended(again)) == 1
        assert taken(ports).id == second.id, "the receiver may be back: what waited is due"

    def test_a_delivery_that_waits_for_its_next_attempt_is_due_at_once_and_keeps_its_schedule(
        self, ports: StorePorts
    ) -> None:
        job = hooked_job(ports)
        ports.make_chunk(job, 0)
        ports.outbox.record(ended(taken(ports), "pending", 500), FAR_SECONDS)
        (waiting,) = ports.outbox.of_job(job.id)
        again = ports.deliveries.send_again(job.id, waiting.id, ports.clock.now())
        assert (again.once, len(again.attempts)) == (False, 1)
        assert taken(ports) == again

    def test_nothing_is_sent_again_while_a_webhook_of_the_job_is_being_sent(self, ports: StorePorts) -> None:
        job = hooked_job(ports)
        ports.make_all_chunks(job)
        first = send_first(ports)
        second = taken(ports)
        for delivery in (first, second):
            with pytest.raises(DeliveryConflict, match="being sent"):
                ports.deliveries.send_again(job.id, delivery.id, ports.clock.now())
        assert ports.outbox.of_job(job.id) == [first, second]
        ports.outbox.record(ended(second))
        ports.deliveries.send_again(job.id, first.id, ports.clock.now())

    def test_what_waits_behind_another_is_not_sent_before_it(self, ports: StorePorts) -> None:
        job = hooked_job(ports)
        ports.make_all_chunks(job)
        first, second = ports.outbox.of_job(job.id)
        with pytest.raises(DeliveryConflict) as caught:
            ports.deliveries.send_again(job.id, second.id, ports.clock.now())
        assert first.id in str(caught.value.fix)

    def test_sending_again_turns_the_webhooks_of_a_job_on(self, ports: StorePorts) -> None:
        job = hooked_job(ports)
        ports.make_all_chunks(job)
        first = send_first(ports, "disabled", 410)
        assert ports.outbox.take_due(10, LONG) == []
        ports.deliveries.send_again(job.id, first.id, ports.clock.now())
        send_first(ports)
        ports.finish(job)
        assert taken(ports).event_type == "job.succeeded"

    def test_a_410_to_a_delivery_that_stays_delivered_turns_the_webhooks_of_its_job_off(
        self, ports: StorePorts
    ) -> None:
        job = hooked_job(ports)
        ports.make_all_chunks(job)
        first = send_first(ports)
        second = send_first(ports)
        for delivery in (second, first):
            ports.deliveries.send_again(job.id, delivery.id, ports.clock.now())
        ports.outbox.record(ended(taken(ports), "delivered", 410))
        assert ports.outbox.take_due(10, LONG) == []
        ports.finish(job)
        assert ports.outbox.take_due(10, LONG) == []
        states = [row.state for row in ports.outbox.of_job(job.id)]
        assert states == ["delivered", "delivered", "disabled"], "what was delivered stays so"

    def test_what_is_not_there_is_not_sent_again(self, ports: StorePorts) -> None:
        job = hooked_job(ports)
        for job_id in (job.id, "job_unknown"):
            with pytest.raises(DeliveryNotFound):
                ports.deliveries.send_again(job_id, "msg_x_1_job_succeeded", ports.clock.now())

    # Pings

    def test_a_ping_is_taken_and_its_result_kept_for_an_hour(self, ports: StorePorts) -> None:
        ping = self.ping(ports)
        assert ports.deliveries.ping(ping.job_id) == ping == taken(ports)
        done = ended(ping)
        ports.outbox.record(done)
        assert ports.outbox.take_due(10, LONG) == []
        assert ports.deliveries.ping(ping.job_id) == done
        assert ports.store.orphaned_job_ids() == []

    def test_what_is_no_ping_is_not_found(self, ports: StorePorts) -> None:
        job = hooked_job(ports)
        ports.make_chunk(job, 0)
        for job_id in (job.id, "~ping_unknown"):
            with pytest.raises(PingNotFound):
                ports.deliveries.ping(job_id)

    def test_pings_of_an_owner_are_bounded(self, ports: StorePorts, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("redis", "testing"):
            monkeypatch.setattr(f"core.service.{module}.deliveries.MAX_PINGS", 2)
        self.ping(ports)
        ports.pass_time(600)
        self.ping(ports, "key_a")
        self.ping(ports)
        with pytest.raises(LimitReached) as caught:
            self.ping(ports)
        assert PING_KEPT_SECONDS - 605 < caught.value.retry_seconds <= PING_KEPT_SECONDS - 600 + 1
        self.ping(ports, "key_a")
        ports.pass_time(PING_KEPT_SECONDS - 600 + 1)
        self.ping(ports)

    def ping(self, ports: StorePorts, owner: str | None = None) -> Delivery:
        now: datetime = ports.clock.now()
        ping = new_ping(URL, owner, None, now)
        ports.deliveries.add_ping(ping)
        return ping

    # Too many that wait

    def test_of_a_job_whose_receiver_is_down_the_oldest_chunks_are_given_up_but_not_the_first(
        self, ports: StorePorts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("redis.job_rows", "testing.memory"):
            monkeypatch.setattr(f"core.service.{module}.KEPT_PENDING", 3)
        job = hooked_job(ports, num_frames=16 * 6)
        ports.make_chunk(job, 0)
        first = taken(ports)
        assert ports.outbox.record(ended(first, "pending", 500), FAR_SECONDS) == 0
        for index in range(1, 6):
            ports.make_chunk(job, index)
        ports.finish(job)
        rows = ports.outbox.of_job(job.id)
        assert [row.event_type for row in rows] == ["chunk.completed"] * 3 + ["job.succeeded"]
        assert [row.order[0] for row in rows[:3]] == [first.order[0], *(first.order[0] + n for n in (4, 5))]
        assert ports.deliveries.page(job.id, 10).dropped == 3
        ports.pass_time(FAR_SECONDS + 1)
        counts = [ports.outbox.record(ended(taken(ports))) for _ in rows]
        assert counts == [4, 5, 6, 7], "so that none is sent again after a loss of Redis"

    def test_a_purged_job_counts_none_that_were_given_up(
        self, ports: StorePorts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("redis.job_rows", "testing.memory"):
            monkeypatch.setattr(f"core.service.{module}.KEPT_PENDING", 1)
        job = hooked_job(ports)
        ports.make_all_chunks(job)
        assert ports.deliveries.page(job.id, 10).dropped == 1
        ports.store.request_delete(job.id)
        ports.store.purge(job.id)
        assert ports.deliveries.page(job.id, 10).dropped == 0
