"""How a job is created, runs, and is canceled or deleted."""

from __future__ import annotations

import pytest

from core.service.domain.errors import JobNotFound, JobStateConflict
from core.service.domain.schema import (
    JobError,
    JobStatus,
    Lane,
)
from tests.helpers.jobs import (
    chunk_of,
    progress_of,
    queued_job,
    refine_spec,
)
from tests.helpers.store_contract.ports import (
    ERROR,
    HOOKED,
    LONG,
    StorePorts,
    progress,
)


class LifeContract:
    """Every test gets fresh, empty `ports`."""

    # Records

    def test_a_created_job_is_read_back_as_it_was(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.get(job.id) == job == queued_job().model_copy(update={"revision": 1, "num_events": 1})
        assert ports.event_types(job) == ["job.queued"]

    def test_creating_the_same_record_twice_creates_it_once(self, ports: StorePorts) -> None:
        ports.store.create(queued_job())
        ports.store.create(queued_job())
        assert ports.event_types(queued_job()) == ["job.queued"]

    def test_a_job_that_was_begun_before_its_creation_was_answered_is_created_once(self, ports: StorePorts) -> None:
        """The answer was lost and a worker was faster than the next try, or a janitor had rebuilt it."""
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        ports.store.create(queued_job())
        assert ports.event_types(job) == ["job.queued", "job.started", "chunk.completed"]

    def test_an_id_is_never_given_to_another_job(self, ports: StorePorts) -> None:
        ports.store.create(queued_job(seed=1))
        with pytest.raises(JobStateConflict):
            ports.store.create(queued_job(seed=2))

    def test_an_unknown_job_is_not_found(self, ports: StorePorts) -> None:
        for ask in (
            ports.store.get,
            ports.store.request_cancel,
            ports.store.request_delete,
        ):
            with pytest.raises(JobNotFound):
                ask("job_nowhere")
        with pytest.raises(JobNotFound):
            ports.store.claim("job_nowhere", Lane.GENERATE, "w1", LONG)

    @pytest.mark.parametrize("suffix", [":events", ":progress", ":deliveries", ":record", ":lease:generate"])
    def test_an_id_that_looks_like_another_key_is_not_found(self, ports: StorePorts, suffix: str) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.claim(job)
        ports.store.report_progress(job.id, progress(1))
        with pytest.raises(JobNotFound):
            ports.store.get(job.id + suffix)

    # The way of a job

    def test_a_job_runs_to_its_end(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.make_all_chunks(job).status is JobStatus.FINALIZING
        done = ports.finish(job)
        assert (done.status, done.version, done.video_key, done.thumbnail_key) == (JobStatus.SUCCEEDED, 2, "v", "t")
        assert done == ports.store.get(job.id)
        assert ports.event_types(job) == [
            "job.queued",
            "job.started",
            "chunk.completed",
            "chunk.completed",
            "job.succeeded",
        ]

    def test_a_failed_job_says_why_and_stays_failed(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.claim(job)
        assert ports.store.fail(job.id, ERROR).error == ERROR
        assert ports.store.fail(job.id, JobError(code="later", message="", retryable=True)).error == ERROR
        assert ports.event_types(job)[-1] == "job.failed"
        assert ports.event_types(job).count("job.failed") == 1

    def test_finalizing_begins_once(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.claim(job)
        ports.store.request_cancel(job.id)
        assert ports.store.begin_finalizing(job.id) == ports.store.begin_finalizing(job.id)

    # Cancel and delete

    def test_a_refined_job_ends_when_both_lanes_are_done(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(refine=refine_spec(), **HOOKED))
        assert ports.store.claim(job.id, Lane.REFINE, "w1", LONG) is None
        ports.make_all_chunks(job)
        lease = ports.claim(job, Lane.REFINE)
        assert ports.store.claim(job.id, Lane.REFINE, "w2", LONG) is None
        assert ports.store.commit_refined(lease, 1, (chunk_of(job, 0),), "r1").status is JobStatus.RUNNING
        last = ports.store.commit_refined(ports.claim(job, Lane.REFINE), 2, (chunk_of(job, 1),), "r1")
        assert (last.status, last.version) == (JobStatus.FINALIZING, 4)
        assert ports.event_types(job)[2:] == ["chunk.completed"] * 2 + ["chunk.refined"] * 2
        assert ports.finish(job).status is JobStatus.SUCCEEDED

    def test_each_lane_has_progress_of_its_own(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        refining = progress(2).model_copy(update={"lane": Lane.REFINE})
        ports.store.report_progress(job.id, progress(1))
        ports.store.report_progress(job.id, refining)
        assert progress_of(ports.store, job.id) == progress(1)
        assert progress_of(ports.store, job.id, Lane.REFINE) == refining
        ports.make_chunk(job, 0)
        assert progress_of(ports.store, job.id) is None
        assert progress_of(ports.store, job.id, Lane.REFINE) == refining

    def test_a_queued_job_is_canceled_at_once(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.request_cancel(job.id).status is JobStatus.CANCELED
        assert ports.store.request_cancel(job.id).status is JobStatus.CANCELED
        assert ports.event_types(job) == ["job.queued", "job.canceled"]

    def test_a_running_job_is_canceled_by_way_of_finalizing(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.make_chunk(job, 0)
        assert not ports.store.cancel_requested(job.id)
        lease = ports.claim(job)
        assert ports.store.request_cancel(job.id).status is JobStatus.CANCELING
        assert ports.store.cancel_requested(job.id)
        ports.store.release(lease, count_attempt=False)
        assert ports.store.get(job.id).status is JobStatus.FINALIZING
        assert ports.finish(job).status is JobStatus.CANCELED

    def test_a_running_job_without_an_active_worker_is_finalised_at_once(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.make_chunk(job, 0)
        assert ports.store.request_cancel(job.id).status is JobStatus.FINALIZING

    def test_a_chunk_committed_while_canceling_is_kept(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        ports.store.request_cancel(job.id)
        after = ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        assert (after.status, after.version) == (JobStatus.FINALIZING, 1)

    def test_an_ended_job_cannot_be_canceled(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.fail(job.id, ERROR)
        with pytest.raises(JobStateConflict):
            ports.store.request_cancel(job.id)

    def test_work_on_a_missing_or_ended_job_shall_stop(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.fail(job.id, ERROR)
        assert ports.store.cancel_requested(job.id)
        assert ports.store.cancel_requested("job_nowhere")

    def test_a_deleted_job_is_gone_for_everyone_but_the_janitor(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        assert ports.store.request_delete(job.id).status is JobStatus.CANCELED
        assert ports.store.cancel_requested(job.id)
        for ask in (ports.store.get, ports.store.request_cancel, ports.store.request_delete):
            with pytest.raises(JobNotFound):
                ask(job.id)
        with pytest.raises(JobNotFound):
            ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        assert ports.store.list().jobs == []
        assert [record.id for record in ports.store.active()] == [job.id]
        assert ports.store.lease_alive(job.id, Lane.GENERATE)

    def test_a_worker_lets_go_of_a_deleted_job(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        ports.store.request_delete(job.id)
        ports.store.release(lease, count_attempt=False)
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)

    def test_purge_leaves_nothing(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**HOOKED))
        ports.make_chunk(job, 0)
        lease = ports.claim(job)
        ports.store.report_progress(job.id, progress(1))
        ports.store.request_delete(job.id)
        ports.store.purge(job.id)
        ports.store.release(lease, count_attempt=False)
        ports.store.report_progress(job.id, progress(2))
        assert (ports.store.active(), ports.store.list().jobs, ports.log.read(job.id)) == ([], [], [])
        assert progress_of(ports.store, job.id) is None
        assert ports.outbox.take_due(10, LONG) == []
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)

    def test_purging_a_job_that_is_gone_does_nothing(self, ports: StorePorts) -> None:
        ports.store.purge("job_nowhere")
        assert ports.store.list().jobs == []
