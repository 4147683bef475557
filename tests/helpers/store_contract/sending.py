"""Webhooks, workers and uploads."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.service.domain.errors import UploadNotFound
from core.service.domain.ports import (
    DeliveryAttempt,
)
from tests.helpers.jobs import (
    queued_job,
)
from tests.helpers.store_contract.ports import (
    HOOKED,
    LONG,
    StorePorts,
    upload_at,
    worker,
)


class SendingContract:
    """Every test gets fresh, empty `ports`."""

    # Webhooks

    def test_only_asked_for_events_become_deliveries(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_all_chunks(job)
        ports.finish(job)
        rows = ports.outbox.of_job(job.id)
        assert [row.event_type for row in rows] == ["chunk.completed", "chunk.completed", "job.succeeded"]
        assert len({row.id for row in rows}) == 3
        assert all("." not in row.id for row in rows)

    def test_a_taken_delivery_is_hidden_until_the_hold_ends(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_chunk(job, 0)
        (row,) = ports.outbox.take_due(10, hold_seconds=30)
        ports.pass_time(29)
        assert ports.outbox.take_due(10, 30) == []
        ports.pass_time(2)
        assert ports.outbox.take_due(10, 30) == [row]

    def test_a_renewed_hold_does_not_end(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_chunk(job, 0)
        (row,) = ports.outbox.take_due(10, hold_seconds=30)
        ports.pass_time(29)
        assert ports.outbox.hold([row], 30) == [row]
        ports.pass_time(29)
        assert ports.outbox.take_due(10, 30) == []

    def test_a_delivery_given_back_is_due_after_its_pause(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_chunk(job, 0)
        (row,) = ports.outbox.take_due(10, LONG)
        ports.outbox.give_back([row], 3)
        ports.pass_time(2)
        assert ports.outbox.take_due(10, LONG) == []
        ports.pass_time(2)
        assert ports.outbox.take_due(10, LONG) == [row]

    def test_at_most_limit_deliveries_are_taken(self, ports: StorePorts) -> None:
        for number in range(3):
            ports.make_chunk(ports.store.create(queued_job(number, **HOOKED)), 0)
        assert len(ports.outbox.take_due(2, LONG)) == 2
        assert len(ports.outbox.take_due(5, LONG)) == 1

    def test_of_a_job_only_the_first_delivery_that_has_not_ended_is_taken(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_all_chunks(job)
        ports.finish(job)
        rows = ports.outbox.of_job(job.id)
        for number, row in enumerate(rows):
            assert ports.outbox.take_due(10, LONG) == [row]
            assert ports.outbox.take_due(10, LONG) == []
            assert ports.outbox.record(row.model_copy(update={"state": "delivered"})) == number + 1

    def test_what_comes_after_a_delivery_that_waits_for_its_next_try_waits_too(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_all_chunks(job)
        (first,) = ports.outbox.take_due(10, LONG)
        assert ports.outbox.record(first, 300) == 0
        ports.pass_time(299)
        assert ports.outbox.take_due(10, LONG) == []
        ports.pass_time(2)
        assert ports.outbox.take_due(10, LONG) == [first]
        ports.outbox.record(first.model_copy(update={"state": "failed"}))
        assert ports.outbox.take_due(10, LONG) == [ports.outbox.of_job(job.id)[1]]

    def test_behind_a_disabled_delivery_the_rest_of_the_job_is_disabled(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_all_chunks(job)
        (first,) = ports.outbox.take_due(10, LONG)
        ports.outbox.record(first.model_copy(update={"state": "disabled"}))
        assert ports.outbox.take_due(10, LONG) == []
        ports.finish(job)
        assert ports.outbox.take_due(10, LONG) == []
        assert [row.state for row in ports.outbox.of_job(job.id)] == ["disabled"] * 3

    @pytest.mark.parametrize("state", ["delivered", "failed", "disabled"])
    def test_a_settled_delivery_is_never_due_again(self, ports: StorePorts, state: str) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_chunk(job, 0)
        (row,) = ports.outbox.take_due(10, LONG)
        tried = DeliveryAttempt(at=ports.clock.now(), status_code=500, error=None, duration_seconds=0.1)
        settled = row.model_copy(update={"state": state, "attempts": (tried,), "next_attempt_at": None})
        ports.outbox.record(settled)
        ports.outbox.record(row, 0)
        ports.pass_time(9 * 86400)
        assert ports.outbox.take_due(10, LONG) == []
        assert ports.outbox.of_job(job.id) == [settled]

    def test_a_failed_attempt_is_due_again_at_its_time(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_chunk(job, 0)
        (row,) = ports.outbox.take_due(10, LONG)
        ports.outbox.record(row, 300)
        ports.pass_time(299)
        assert ports.outbox.take_due(10, LONG) == []
        ports.pass_time(2)
        assert ports.outbox.take_due(10, LONG) == [row]

    def test_the_outcome_of_a_purged_jobs_delivery_is_dropped(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_chunk(job, 0)
        (row,) = ports.outbox.take_due(10, LONG)
        ports.store.purge(job.id)
        ports.outbox.record(row)
        assert ports.outbox.of_job(job.id) == []
        ports.pass_time(9 * 86400)
        assert ports.outbox.take_due(10, LONG) == []

    # Workers

    def test_workers_are_listed_by_name_until_they_leave(self, ports: StorePorts) -> None:
        for name in ("b", "a"):
            ports.workers.report(worker(name), LONG)
        ports.workers.report(worker("b").model_copy(update={"state": "busy"}), LONG)
        assert [(w.name, w.state) for w in ports.workers.all()] == [("a", "ready"), ("b", "busy")]
        ports.workers.remove("a")
        assert [w.name for w in ports.workers.all()] == ["b"]

    # Uploads

    def test_an_upload_is_found_until_it_is_removed(self, ports: StorePorts) -> None:
        one = upload_at(ports.clock.now())
        ports.uploads.create(one)
        assert ports.uploads.get(one.id) == one
        assert ports.uploads.count() == 1
        ports.uploads.remove(one.id)
        ports.uploads.remove(one.id)
        assert ports.uploads.count() == 0
        with pytest.raises(UploadNotFound):
            ports.uploads.get(one.id)

    def test_old_uploads_are_listed_oldest_first(self, ports: StorePorts) -> None:
        now = ports.clock.now().replace(microsecond=0)
        uploads = [upload_at(now - timedelta(hours=hours)) for hours in (1, 3, 2, 0)]
        for one in uploads:
            ports.uploads.create(one)
        assert ports.uploads.older_than(now) == [uploads[1], uploads[2], uploads[0]]
        ports.uploads.remove(uploads[2].id)
        assert ports.uploads.older_than(now - timedelta(hours=1)) == [uploads[1]]

    def test_uploads_are_counted_for_each_client(self, ports: StorePorts) -> None:
        mine, other = (upload_at(ports.clock.now(), client=client) for client in ("a", "b"))
        for one in (mine, other):
            ports.uploads.create(one)
        assert [ports.uploads.count_of(client) for client in ("a", "b", "c")] == [1, 1, 0]
        ports.uploads.remove(mine.id)
        assert [ports.uploads.count_of(client) for client in ("a", "b", "c")] == [0, 1, 0]

    def test_the_key_of_clients_marks_is_made_once(self, ports: StorePorts) -> None:
        assert ports.uploads.client_key() == ports.uploads.client_key() != b""

    def test_an_upload_whose_time_is_over_counts_for_no_client(self, ports: StorePorts) -> None:
        now = ports.clock.now()
        for moment in (now, now - timedelta(days=2), now - timedelta(seconds=1)):
            ports.uploads.create(upload_at(moment, client="a"))
        assert (ports.uploads.count_of("a"), ports.uploads.count()) == (2, 3)

    def test_expired_upload_urls_are_listed_until_their_file_is_known(self, ports: StorePorts) -> None:
        now = ports.clock.now().replace(microsecond=0)
        ended, going = (upload_at(now, url_expires_at=now + timedelta(hours=hours)) for hours in (-1, 1))
        for one in (ended, going, upload_at(now)):
            ports.uploads.create(one)
        assert ports.uploads.unsent(now) == [ended]
        ports.uploads.sent(ended.id)
        assert ports.uploads.unsent(now) == []
        assert ports.uploads.count() == 3

    def test_the_object_of_a_discarded_upload_is_to_go_twice(self, ports: StorePorts) -> None:
        now = ports.clock.now().replace(microsecond=0)
        one, later = upload_at(now, client="a"), now + timedelta(hours=1)
        ports.uploads.create(one)
        ports.uploads.discard(one.id, now, later)
        with pytest.raises(UploadNotFound):
            ports.uploads.discard(one.id, now, later)
        assert (ports.uploads.count(), ports.uploads.count_of("a")) == (0, 0)
        (first,) = ports.uploads.discarded(now)
        ports.uploads.forget_discarded(first)
        assert ports.uploads.discarded(now) == []
        assert ports.uploads.is_discarded(one.id)
        (second,) = ports.uploads.discarded(later)
        assert (first.late, second.late, second.upload_id) == (False, True, one.id)
        ports.uploads.forget_discarded(second)
        assert not ports.uploads.is_discarded(one.id)
