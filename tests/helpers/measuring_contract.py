"""The contract of the job store about measuring, as one suite for the real store and the fake.

A module that wants it run has a fixture `ports` and a class `Test...(MeasuringContract)`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.service.domain.errors import JobNotFound, JobStateConflict, StaleLease
from core.service.domain.schema import JobError, JobExtension, JobRecord, JobStatus, Lane, record_text
from core.service.domain.transitions.measuring import MAX_MEASUREMENTS
from core.service.records.chunk_reads import all_chunks
from tests.helpers.jobs import chunk_of, queued_job
from tests.helpers.store_contract.ports import SHORT, StorePorts

ERROR = JobError(code="video_unmeasurable", message="the final video is missing", retryable=False, fix="tell them")
HOOKED: dict[str, Any] = {
    "webhook_url": "https://example.com/hook",
    "webhook_events": ("job.succeeded", "job.measured"),
}


def ended(ports: StorePorts, **spec: Any) -> JobRecord:
    """A job that has succeeded with a video."""
    job = ports.store.create(queued_job(**spec))
    ports.make_all_chunks(job)
    return ports.finish(job)


def measure(ports: StorePorts, job: JobRecord) -> JobRecord:
    return ports.store.commit_measurement(ports.claim(job, Lane.MEASURE))


def waits(ports: StorePorts) -> list[str]:
    """Jobs that wait to be measured."""
    return list(ports.store.ready(Lane.MEASURE, "", 10))


class MeasuringContract:
    """Every test gets fresh, empty `ports`."""

    def test_a_job_that_asked_is_measured_after_its_end_and_only_then(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(measure=True))
        assert ports.store.claim(job.id, Lane.MEASURE, "w1", 60.0) is None
        ports.make_all_chunks(job)
        assert ports.store.claim(job.id, Lane.MEASURE, "w1", 60.0) is None
        done = ports.finish(job)
        assert waits(ports) == [job.id]
        assert [(work.lane, work.record.id) for work in ports.store.queued_work()] == [(Lane.MEASURE, job.id)]
        measured = measure(ports, job)
        told = (measured.status, measured.version, measured.finished_at)
        assert told == (done.status, done.version, done.finished_at)
        assert measured.measurement is not None
        assert measured.measurement.error is None
        assert waits(ports) == []
        assert ports.store.claim(job.id, Lane.MEASURE, "w1", 60.0) is None
        assert ports.event_types(job)[-2:] == ["job.succeeded", "job.measured"]
        assert ports.log.read(job.id)[-1].data["measurement"] == {"status": "measured"}
        assert [one.id for one in ports.store.stale_manifests()] == [job.id]

    def test_a_job_that_did_not_ask_is_not_measured_until_it_does(self, ports: StorePorts) -> None:
        job = ended(ports)
        assert waits(ports) == []
        asked = ports.store.ask_measuring(job.id)
        assert (asked.status, asked.spec.measure) == (JobStatus.SUCCEEDED, True)
        assert ports.store.ask_measuring(job.id) == asked
        assert waits(ports) == [job.id]
        measured = measure(ports, job)
        assert ports.store.ask_measuring(job.id) == measured, "it is measured"

    def test_a_running_job_may_be_asked_to_be_measured_at_its_end(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.ask_measuring(job.id)
        assert waits(ports) == []
        ports.make_all_chunks(job)
        ports.finish(job)
        assert waits(ports) == [job.id]

    def test_a_canceled_job_with_a_video_is_measured_and_one_without_is_not(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(measure=True))
        ports.make_chunk(job, 0)
        ports.store.request_cancel(job.id)
        assert ports.finish(job).status is JobStatus.CANCELED
        bare = ports.store.create(queued_job(2, measure=True))
        assert ports.store.request_cancel(bare.id).status is JobStatus.CANCELED
        failed = ports.store.create(queued_job(3, measure=True))
        ports.make_chunk(failed, 0)
        ports.store.fail(failed.id, ERROR)
        assert waits(ports) == [job.id]
        for one in (bare, failed):
            with pytest.raises(JobStateConflict):
                ports.store.ask_measuring(one.id)

    def test_a_lost_worker_is_followed_by_another_and_commits_nothing(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True)
        dead = ports.claim(job, Lane.MEASURE, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.MEASURE)
        newer = ports.claim(job, Lane.MEASURE, worker="w2")
        with pytest.raises(StaleLease):
            ports.store.commit_measurement(dead)
        measured = ports.store.commit_measurement(newer)
        assert ports.store.commit_measurement(newer) == measured, "its answer may have been lost"
        assert ports.event_types(job).count("job.measured") == 1

    def test_what_cannot_be_measured_says_so_and_may_be_asked_for_again(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True, **HOOKED)
        lease = ports.claim(job, Lane.MEASURE)
        ports.store.release(lease, count_attempt=True)
        told = ports.store.give_up_measuring(job.id, 0, ERROR)
        assert told.status is JobStatus.SUCCEEDED
        assert told.error is None
        assert told.measurement is not None
        assert told.measurement.error == ERROR
        assert ports.store.give_up_measuring(job.id, 0, ERROR) == told
        assert waits(ports) == []
        again = ports.store.ask_measuring(job.id)
        assert (again.measurement, again.lane(Lane.MEASURE).attempts) == (None, 0)
        assert waits(ports) == [job.id]
        assert measure(ports, job).measurement is not None
        rows = sorted(ports.outbox.of_job(job.id), key=lambda row: row.order)
        assert [row.event_type for row in rows] == ["job.succeeded", "job.measured", "job.measured"]
        assert [row.id for row in rows] == sorted({row.id for row in rows}), "the order in which they are sent"
        told_of = [json.loads(row.body)["data"].get("measurement") for row in rows]
        failed = {"status": "failed", "error": ERROR.model_dump(exclude_none=True)}
        assert told_of == [None, failed, {"status": "measured"}]

    def test_a_longer_video_is_measured_anew(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True)
        old = ports.claim(job, Lane.MEASURE)
        longer = ports.store.extend(job.id, JobExtension(num_frames=16))
        assert longer.measurement is None
        assert not ports.store.renew(old, 60.0)
        with pytest.raises(StaleLease):
            ports.store.commit_measurement(old)
        ports.store.release(old, count_attempt=False)
        assert ports.store.give_up_measuring(job.id, 0, ERROR).measurement is None
        ports.store.commit_chunk(ports.claim(job), chunk_of(longer, 2), "f1")
        ports.finish(job)
        assert waits(ports) == [job.id]
        assert ports.store.give_up_measuring(job.id, 0, ERROR).measurement is None, "it was about the shorter one"
        measured = measure(ports, job)
        assert [one.generation for one in measured.measurements] == [1]

    def test_a_deleted_job_is_not_measured(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True)
        lease = ports.claim(job, Lane.MEASURE)
        ports.store.request_delete(job.id)
        for change in (
            lambda: ports.store.commit_measurement(lease),
            lambda: ports.store.give_up_measuring(job.id, 0, ERROR),
            lambda: ports.store.ask_measuring(job.id),
        ):
            with pytest.raises(JobNotFound):
                change()
        assert ports.store.lease_alive(job.id, Lane.MEASURE), "the janitor waits for its worker"
        ports.store.release(lease, count_attempt=False)
        ports.store.purge(job.id)
        assert (waits(ports), list(ports.store.queued_work())) == ([], [])

    def test_a_restored_log_has_the_measurements_under_their_ids(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True, **HOOKED)
        ports.store.give_up_measuring(job.id, 0, ERROR)
        ports.store.ask_measuring(job.id)
        measure(ports, job)
        longer = ports.store.extend(job.id, JobExtension(num_frames=16, prompt="a blue square"))
        ports.store.commit_chunk(ports.claim(job), chunk_of(longer, 2), "f1")
        ports.finish(job)
        record = measure(ports, job)
        before = [(event.id, event.type, event.data) for event in ports.log.read(job.id)]
        hooks = sorted(row.id for row in ports.outbox.of_job(job.id))
        lists = all_chunks(ports.store, job.id)
        ports.store.request_delete(job.id)
        ports.store.purge(job.id)
        ports.store.remove_tombstone(job.id)
        assert ports.store.restore(record, lists)
        assert [(event.id, event.type, event.data) for event in ports.log.read(job.id)] == before
        assert sorted(row.id for row in ports.outbox.of_job(job.id)) == hooks
        assert waits(ports) == []

    def test_a_job_that_was_lost_before_it_was_measured_is_measured(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True)
        lists = all_chunks(ports.store, job.id)
        ports.store.purge(job.id)
        assert ports.store.restore(job, lists)
        assert waits(ports) == [job.id]
        assert measure(ports, job).measurement is not None

    def test_a_pass_over_the_queues_keeps_what_waits_to_be_measured(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True)
        ports.store.create(queued_job(2, measure=True))
        for _ in range(2):
            assert ports.store.reindex() == 0
            assert waits(ports) == [job.id]

    def test_a_measurement_is_made_anew_on_request_if_it_is_still_the_newest(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True)
        first = measure(ports, job)
        again = ports.store.ask_measuring(job.id, first.measurement)
        assert (again.measurement, again.spec.measure) == (None, True)
        assert waits(ports) == [job.id]
        assert ports.store.ask_measuring(job.id, first.measurement) == again
        second = measure(ports, job)
        assert ports.store.ask_measuring(job.id, first.measurement) == second, "it has been made anew"
        assert waits(ports) == []

    def test_a_video_is_measured_only_so_often_until_the_job_goes_on(self, ports: StorePorts) -> None:
        job = ended(ports, measure=True)
        long = ERROR.model_copy(update={"message": "x" * 10_000, "fix": "y" * 10_000})
        for _ in range(MAX_MEASUREMENTS - 1):
            ports.store.give_up_measuring(job.id, 0, long)
            ports.store.ask_measuring(job.id)
        told = ports.store.give_up_measuring(job.id, 0, long)
        with pytest.raises(JobStateConflict, match=str(MAX_MEASUREMENTS)):
            ports.store.ask_measuring(job.id)
        assert len(record_text(told)) < 20_000
        longer = ports.store.extend(job.id, JobExtension(num_frames=16))
        ports.store.commit_chunk(ports.claim(job), chunk_of(longer, 2), "f1")
        ports.finish(job)
        assert waits(ports) == [job.id]
        ports.store.give_up_measuring(job.id, 1, long)
        assert ports.store.ask_measuring(job.id).measurement is None
