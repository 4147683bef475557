"""Lists and counts of jobs, and their places in the queue."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.service.domain.errors import InvalidField
from core.service.domain.ports import (
    LiveStatus,
    QueuedJobs,
)
from core.service.domain.priority import Priority
from core.service.domain.schema import (
    JobChange,
    JobRecord,
    JobStatus,
    Lane,
)
from tests.helpers.jobs import (
    queue_position_of,
    queued_job,
)
from tests.helpers.store_contract.ports import (
    ERROR,
    HOOKED,
    WITH_VIDEO,
    StorePorts,
    owned_job,
    progress,
)


class ListContract:
    """Every test gets fresh, empty `ports`."""

    def test_pages_go_from_newest_to_oldest_without_gap_or_repeat(self, ports: StorePorts) -> None:
        for number in range(7):
            ports.store.create(queued_job(number, age_seconds=number // 2))
        found, cursor = list[str](), None
        while True:
            page = ports.store.list(limit=3, cursor=cursor)
            found += [job.id for job in page.jobs]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == [queued_job(number).id for number in (1, 0, 3, 2, 5, 4, 6)]

    def test_pages_may_go_from_oldest_to_newest(self, ports: StorePorts) -> None:
        for number in range(5):
            ports.store.create(queued_job(number, age_seconds=number))
        first = ports.store.list(limit=3, oldest_first=True)
        rest = ports.store.list(limit=3, cursor=first.next_cursor, oldest_first=True)
        assert [job.id for job in (*first.jobs, *rest.jobs)] == [queued_job(number).id for number in (4, 3, 2, 1, 0)]
        assert rest.next_cursor is None

    def test_a_list_by_status_has_that_status_only(self, ports: StorePorts) -> None:
        for number in range(3):
            ports.store.create(queued_job(number))
        ports.store.request_cancel(queued_job(1).id)
        assert [job.id for job in ports.store.list(status=JobStatus.CANCELED).jobs] == [queued_job(1).id]
        assert len(ports.store.list(status=JobStatus.QUEUED).jobs) == 2

    def test_a_list_by_owner_has_its_jobs_only(self, ports: StorePorts) -> None:
        for number, owner in ((1, "key_a"), (2, "key_b"), (3, "key_a"), (4, None)):
            ports.store.create(owned_job(number, owner))
        ports.store.request_cancel(queued_job(3).id)
        assert [job.id for job in ports.store.list(owner="key_a").jobs] == [queued_job(3).id, queued_job(1).id]
        canceled = ports.store.list(owner="key_a", status=JobStatus.CANCELED).jobs
        assert [job.id for job in canceled] == [queued_job(3).id]
        assert ports.store.list(owner="key_b", status=JobStatus.CANCELED).jobs == []
        assert len(ports.store.list().jobs) == 4
        ports.store.request_delete(queued_job(1).id)
        assert [job.id for job in ports.store.list(owner="key_a").jobs] == [queued_job(3).id]

    def test_pages_of_an_owner_skip_the_jobs_of_others(self, ports: StorePorts) -> None:
        for number in range(6):
            ports.store.create(owned_job(number, "key_a" if number % 2 else "key_b"))
        first = ports.store.list(owner="key_a", limit=2)
        rest = ports.store.list(owner="key_a", limit=2, cursor=first.next_cursor)
        assert [job.id for job in (*first.jobs, *rest.jobs)] == [queued_job(number).id for number in (5, 3, 1)]
        assert rest.next_cursor is None

    def test_ids_of_clients_may_be_in_cursors(self, ports: StorePorts) -> None:
        for name in ("trailer-7", "trailer_8"):
            ports.store.create(queued_job().model_copy(update={"id": name}))
        first = ports.store.list(limit=1)
        rest = ports.store.list(limit=1, cursor=first.next_cursor)
        assert {job.id for job in (*first.jobs, *rest.jobs)} == {"trailer-7", "trailer_8"}

    @pytest.mark.parametrize("cursor", ["", "x", "äö", "bm8", "Li4vLi4"])
    def test_a_foreign_cursor_is_refused(self, ports: StorePorts, cursor: str) -> None:
        with pytest.raises(InvalidField) as refused:
            ports.store.list(cursor=cursor)
        assert refused.value.field == "cursor"

    def test_active_jobs_are_the_unended_ones_oldest_first(self, ports: StorePorts) -> None:
        for number, age in ((1, 10), (2, 30), (3, 20)):
            ports.store.create(queued_job(number, age_seconds=age))
        ports.claim(queued_job(2))
        ports.store.fail(queued_job(3).id, ERROR)
        assert [job.id for job in ports.store.active()] == [queued_job(2).id, queued_job(1).id]
        assert ports.store.count_active() == 2

    def test_jobs_are_counted_by_status_queue_and_lane(self, ports: StorePorts) -> None:
        nothing = ports.store.counts(["idle"])
        assert not any(nothing.by_status.values())
        assert nothing.queued == {("idle", priority): QueuedJobs(0, None) for priority in Priority}
        assert nothing.pending_webhooks == 0
        young, old, begun, failed, fetching = (queued_job(number, age_seconds=10 * number) for number in range(5))
        failed = failed.model_copy(
            update={"spec": failed.spec.model_copy(update={**HOOKED, "webhook_events": ("job.failed",)})}
        )
        fetching = fetching.model_copy(update={"spec": fetching.spec.model_copy(update=WITH_VIDEO)})
        for job in (young, old, begun, failed, fetching):
            ports.store.create(job)
        ports.claim(begun)
        ports.store.fail(failed.id, ERROR)
        counts, model = ports.store.counts(["idle"]), young.spec.model
        assert {status: count for status, count in counts.by_status.items() if count} == {
            "queued": 3,
            "running": 1,
            "failed": 1,
        }
        assert counts.queued[model, Priority.NORMAL] == QueuedJobs(3, fetching.created_at)
        lanes = {lane: count for lane, count in counts.in_lanes.items() if count}
        assert lanes == {(Lane.GENERATE, model): 3, (Lane.PREPARE, ""): 1}
        assert counts.pending_webhooks == 1

    def test_queued_jobs_are_counted_by_class(self, ports: StorePorts) -> None:
        ages = {Priority.HIGH: (10, 20), Priority.NORMAL: (40,), Priority.LOW: (30, 50, 60)}
        jobs = {priority: list[JobRecord]() for priority in Priority}
        for priority, of_class in ages.items():
            for age in of_class:
                jobs[priority].append(ports.store.create(queued_job(age, age_seconds=age, priority=priority)))
        model = jobs[Priority.HIGH][0].spec.model
        assert ports.store.counts([]).queued == {
            (model, priority): QueuedJobs(len(of_class), of_class[-1].created_at) for priority, of_class in jobs.items()
        }
        raised = jobs[Priority.LOW][-1]
        ports.store.steer(raised.id, JobChange(priority=Priority.HIGH))
        ports.claim(jobs[Priority.HIGH][-1])
        ports.store.request_cancel(jobs[Priority.NORMAL][0].id)
        assert ports.store.counts([]).queued == {
            (model, Priority.HIGH): QueuedJobs(2, raised.created_at),
            (model, Priority.NORMAL): QueuedJobs(0, None),
            (model, Priority.LOW): QueuedJobs(2, jobs[Priority.LOW][1].created_at),
        }

    def test_a_job_that_went_on_has_waited_since_then(self, ports: StorePorts) -> None:
        """Although it is listed by its creation, before all younger ones."""
        days = 86_400
        went_on = list[JobRecord]()
        for number in range(1, 7):
            job = ports.store.create(queued_job(number, age_seconds=9 * days - number))
            ports.store.fail(job.id, ERROR)
            went_on.append(ports.store.retry(job.id))
        model, first = went_on[0].spec.model, went_on[0].earlier[0].next_at

        def waiting() -> QueuedJobs:
            return ports.store.counts([]).queued[model, Priority.NORMAL]

        assert waiting() == QueuedJobs(6, first)
        for number, age in ((7, 3), (8, 2)):
            ports.store.create(queued_job(number, age_seconds=age * days))
        assert waiting() == QueuedJobs(8, queued_job(age_seconds=3 * days).created_at)
        ports.store.create(queued_job(9, age_seconds=10 * days))
        assert waiting() == QueuedJobs(9, queued_job(age_seconds=10 * days).created_at)

    def test_an_ended_job_expires_after_its_retention(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ended = ports.store.request_cancel(job.id)
        assert ended.expires_at is not None
        assert ports.store.expired(ended.expires_at - timedelta(seconds=1)) == []
        assert ports.store.expired(ended.expires_at) == [ended]

    def test_queue_positions_count_per_model(self, ports: StorePorts) -> None:
        for number, model in ((1, "a"), (2, "b"), (3, "a")):
            ports.store.create(queued_job(number, age_seconds=-number, model=model))
        assert [queue_position_of(ports.store, queued_job(number).id) for number in (1, 2, 3)] == [1, 1, 2]
        ports.claim(queued_job(1))
        assert [queue_position_of(ports.store, queued_job(number).id) for number in (1, 2, 3)] == [None, 1, 1]

    def test_standings_of_many_jobs_are_read_together(self, ports: StorePorts) -> None:
        records = [ports.store.create(queued_job(number, age_seconds=-number)) for number in (1, 2, 3)]
        ports.claim(records[0])
        ports.store.report_progress(records[0].id, progress(2))
        running = ports.store.get(records[0].id)
        assert ports.store.live_statuses([]) == []
        assert ports.store.live_statuses([running, *records[1:]]) == [
            LiveStatus({Lane.GENERATE: progress(2)}, None),
            LiveStatus({}, 1),
            LiveStatus({}, 2),
        ]

    def test_a_job_deleted_since_it_was_read_has_no_standing(self, ports: StorePorts) -> None:
        queued = ports.store.create(queued_job(1))
        running = ports.store.create(queued_job(2))
        ports.claim(running)
        running = ports.store.get(running.id)
        for job in (queued, running):
            ports.store.request_delete(job.id)
            ports.store.purge(job.id)
        assert ports.store.live_statuses([queued, running]) == [LiveStatus(), LiveStatus()]
