"""The contract of the job store, event log, outbox and worker registry, as one suite for the real ones and the fakes.

A module that wants it run has a fixture `ports` and a class `Test...(StoreContract)`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.service.domain.errors import InvalidField, JobNotFound, JobStateConflict, StaleLease, UploadNotFound
from core.service.domain.ids import new_upload_id
from core.service.domain.manifest import PAGE_CHUNKS, ChunkPage, input_key
from core.service.domain.ports import (
    Clock,
    Deliveries,
    DeliveryAttempt,
    EventLog,
    JobStore,
    Lease,
    LiveStatus,
    LogPosition,
    Outbox,
    QueuedJobs,
    Results,
    UploadStore,
    WorkerRegistry,
    WorkerStatus,
)
from core.service.domain.priority import Priority
from core.service.domain.schema import (
    BranchSource,
    ChunkLists,
    ControlSpec,
    JobChange,
    JobError,
    JobExtension,
    JobRecord,
    JobStatus,
    JobWarning,
    Lane,
    PreparedMedia,
    PromptChange,
    StepProgress,
)
from core.service.domain.schema.older import totals_of
from core.service.domain.transitions import KEPT_EVENTS
from core.service.domain.uploads import Upload
from core.service.records.chunk_reads import all_chunks
from tests.helpers.jobs import (
    DAY_ONE,
    chunk_of,
    chunks_of,
    progress_of,
    queue_position_of,
    queued_job,
    refine_spec,
    with_chunks,
)

LONG, SHORT = 60.0, 0.2
"""Lease times in seconds: one that outlives a test, one that a test can wait for."""
WITH_VIDEO: dict[str, Any] = {"video": "https://example.com/a.mp4"}
WITH_CONTROL: dict[str, Any] = {
    "control": ControlSpec(type="canny", video="https://example.com/a.mp4", scale=1.0, start=0.0, end=1.0)
}
ODD = JobWarning(code="odd", message="the clip is odd", field="video")
ERROR = JobError(code="boom", message="it broke", retryable=False)
HOOKED: dict[str, Any] = {
    "webhook_url": "https://example.com/hook",
    "webhook_events": ("chunk.completed", "job.succeeded"),
}


@dataclass
class StorePorts:
    """One implementation of every port, over one memory. `wait_until_free` lets a short lease run out."""

    store: JobStore
    log: EventLog
    outbox: Outbox
    workers: WorkerRegistry
    uploads: UploadStore
    clock: Clock
    wait_until_free: Callable[[str, Lane], None]
    pass_time: Callable[[float], None]
    """Lets seconds pass for the outbox."""
    deliveries: Deliveries

    def claim(self, job: JobRecord, lane: Lane = Lane.GENERATE, *, ttl: float = LONG, worker: str = "w1") -> Lease:
        lease = self.store.claim(job.id, lane, worker, ttl)
        assert lease is not None
        return lease

    def make_chunk(self, job: JobRecord, index: int, fingerprint: str = "f1") -> JobRecord:
        return self.store.commit_chunk(self.claim(job), chunk_of(job, index), fingerprint)

    def make_all_chunks(self, job: JobRecord) -> JobRecord:
        self.make_chunk(job, 0)
        return self.make_chunk(job, 1)

    def finish(self, job: JobRecord) -> JobRecord:
        return self.store.finish(self.claim(job, Lane.FINALIZE), Results("v", None, "t"))

    def event_types(self, job: JobRecord) -> list[str]:
        return [str(event.type) for event in self.log.read(job.id)]


def progress(step: int) -> StepProgress:
    return StepProgress(chunk_index=0, step=step, steps=4, at=DAY_ONE)


def prepared_of(lease: Lease) -> PreparedMedia:
    """What the holder of the lease has prepared."""
    return PreparedMedia(key=input_key(lease.job_id, lease.token), sha256=f"{lease.token:064x}", at=DAY_ONE)


def owned_job(number: int, owner: str | None) -> JobRecord:
    return queued_job(number).model_copy(update={"owner": owner})


def worker(name: str) -> WorkerStatus:
    return WorkerStatus(
        name=name, kind="generate", model="sprites", state="ready", device="cpu", pid=1, started_at=DAY_ONE
    )


class StoreContract:
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

    # Leases and fencing

    def test_a_lane_has_one_live_lease(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        assert ports.store.claim(job.id, Lane.GENERATE, "w2", LONG) is None
        assert ports.store.lease_alive(job.id, Lane.GENERATE)
        assert lease == Lease(job.id, Lane.GENERATE, 1, "w1")
        assert ports.store.get(job.id).lane(Lane.GENERATE).attempts == 0

    def test_a_lane_that_has_no_work_is_not_claimed(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.claim(job.id, Lane.FINALIZE, "w1", LONG) is None
        ports.make_all_chunks(job)
        assert ports.store.claim(job.id, Lane.GENERATE, "w1", LONG) is None

    def test_an_expired_lease_is_followed_by_a_newer_token(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        first = ports.claim(job, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        second = ports.claim(job, worker="w2")
        assert second.token > first.token
        assert not ports.store.renew(first, LONG)
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(first, chunk_of(job, 0), "f1")
        assert ports.store.commit_chunk(second, chunk_of(job, 0), "f1").version == 1

    def test_a_stale_commit_is_refused_after_the_newer_lease_is_gone(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        stale = ports.claim(job, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        ports.store.release(ports.claim(job), count_attempt=True)
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(stale, chunk_of(job, 0), "f1")

    def test_an_expired_but_unclaimed_lease_still_commits(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        assert ports.store.commit_chunk(lease, chunk_of(job, 0), "f1").version == 1

    def test_an_expired_lease_is_renewed_if_unclaimed(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job, ttl=5.0)
        assert ports.store.renew(lease, SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        assert ports.store.renew(lease, LONG)
        assert ports.store.lease_alive(job.id, Lane.GENERATE)
        assert ports.store.claim(job.id, Lane.GENERATE, "w2", LONG) is None

    def test_a_lease_that_was_given_back_or_whose_job_is_deleted_is_not_renewed(self, ports: StorePorts) -> None:
        given_back, deleted = ports.store.create(queued_job(1)), ports.store.create(queued_job(2))
        first, second = ports.claim(given_back), ports.claim(deleted, ttl=SHORT)
        ports.store.release(first, count_attempt=False)
        ports.store.request_delete(deleted.id)
        ports.wait_until_free(deleted.id, Lane.GENERATE)
        assert not ports.store.renew(first, LONG)
        assert not ports.store.renew(second, LONG)

    def test_a_worker_keeps_the_lane_with_its_commit(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        first = ports.claim(job)
        committed = ports.store.commit_and_claim(first, chunk_of(job, 0), "f1", LONG)
        assert (committed.version, committed.lane(Lane.GENERATE).held) == (1, True)
        second = Lease(job.id, Lane.GENERATE, first.token + 1, "w1")
        assert committed.lane(Lane.GENERATE).token == second.token
        assert ports.store.get(job.id) == committed
        assert ports.store.renew(second, LONG)
        assert ports.store.claim(job.id, Lane.GENERATE, "w2", LONG) is None
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(first, chunk_of(job, 1), "f1")
        assert not ports.store.commit_chunk(second, chunk_of(job, 1), "f1").lane(Lane.GENERATE).held
        assert ports.event_types(job)[2:] == ["chunk.completed", "chunk.completed"]

    def test_a_lane_is_kept_only_while_it_has_work(self, ports: StorePorts) -> None:
        job, canceled = (ports.store.create(queued_job(number)) for number in (1, 2))
        ports.make_chunk(job, 0)
        complete = ports.store.commit_and_claim(ports.claim(job), chunk_of(job, 1), "f1", LONG)
        lease = ports.claim(canceled)
        ports.store.request_cancel(canceled.id)
        stopped = ports.store.commit_and_claim(lease, chunk_of(canceled, 0), "f1", LONG)
        for ended in (complete, stopped):
            assert (ended.status, ended.lane(Lane.GENERATE).held) == (JobStatus.FINALIZING, False)
            assert not ports.store.lease_alive(ended.id, Lane.GENERATE)

    def test_a_kept_lane_survives_the_loss_of_its_answer_and_is_given_back_by_the_lease_before(
        self, ports: StorePorts
    ) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        lease = ports.claim(job)
        committed = ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG)
        assert ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG) == committed
        assert ports.event_types(job).count("chunk.completed") == 1
        ports.store.release(lease, count_attempt=False)
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)
        other = ports.claim(job, worker="w2")
        ports.store.release(lease, count_attempt=False)
        assert ports.store.lease_alive(job.id, Lane.GENERATE)
        with pytest.raises(StaleLease):
            ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG)
        assert other.token == committed.lane(Lane.GENERATE).token + 1

    def test_a_kept_lane_is_renewed_by_the_lease_before_until_another_claims_it(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        lease = ports.claim(job)
        ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG)
        assert ports.store.renew(lease, SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        assert ports.store.renew(lease, SHORT), "expired, but nobody else has claimed the lane"
        assert ports.store.lease_alive(job.id, Lane.GENERATE)
        assert ports.store.renew(Lease(job.id, Lane.GENERATE, lease.token + 1, "w1"), SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        ports.claim(job, worker="w2")
        assert not ports.store.renew(lease, LONG)

    def test_a_kept_lane_is_released_with_its_dead_worker(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        lease = ports.claim(job, worker="doomed")
        committed = ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG)
        freed = ports.store.release_of_worker("doomed")
        assert freed is not None
        assert freed.token == committed.lane(Lane.GENERATE).token
        state = ports.store.get(job.id).lane(Lane.GENERATE)
        assert (state.held, state.deaths, state.lonely_deaths) == (False, 1, 1)
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)

    def test_a_paused_lane_is_not_claimed_and_counts_as_inactive(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.release(ports.claim(job), count_attempt=True, rest_seconds=LONG)
        assert ports.store.claim(job.id, Lane.GENERATE, "w1", LONG) is None
        assert ports.store.claim_next([Lane.GENERATE], job.spec.model, "w1", LONG) is None
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)

    # What a job begins with

    def test_a_job_with_media_waits_for_any_cpu_worker_and_then_for_an_engine(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**WITH_VIDEO))
        assert ports.store.claim(job.id, Lane.GENERATE, "w1", LONG) is None
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == []
        assert ports.store.ready(Lane.PREPARE, "", 10) == [job.id]
        lease = ports.claim(job, Lane.PREPARE)
        assert ports.store.ready(Lane.PREPARE, "", 10) == []
        assert ports.store.get(job.id).status is JobStatus.QUEUED
        assert queue_position_of(ports.store, job.id) == 1
        ready = ports.store.commit_prepare(lease, prepared_of(lease), (ODD,))
        assert (ready.status, ready.prepared, ready.warnings) == (JobStatus.QUEUED, prepared_of(lease), (ODD,))
        assert not ports.store.lease_alive(job.id, Lane.PREPARE)
        assert ports.store.ready(Lane.PREPARE, "", 1) == []
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == [job.id]
        assert ready.revision == job.revision + 1, "the manifest must have it"
        ports.make_all_chunks(job)
        assert ports.event_types(job)[:3] == ["job.queued", "job.started", "chunk.completed"]

    def test_ready_jobs_are_listed_in_order_up_to_a_limit(self, ports: StorePorts) -> None:
        for number, age in ((1, 10), (2, 30), (3, 20)):
            ports.store.create(queued_job(number, age_seconds=age, **WITH_VIDEO))
        assert ports.store.ready(Lane.PREPARE, "", 2) == [queued_job(2).id, queued_job(3).id]

    def test_jobs_that_are_ready_and_have_not_begun_are_counted_by_model(self, ports: StorePorts) -> None:
        jobs = [ports.store.create(queued_job(number, **WITH_VIDEO)) for number in range(5)]
        model = jobs[0].spec.model
        for job in jobs[:4]:
            lease = ports.claim(job, Lane.PREPARE)
            ports.store.commit_prepare(lease, prepared_of(lease))
        assert [ports.store.count_prepared(model, limit) for limit in (16, 2)] == [4, 2]
        assert ports.store.count_prepared("another", 16) == 0
        ports.claim(jobs[0])
        ports.store.request_cancel(jobs[1].id)
        ports.store.request_delete(jobs[2].id)
        assert ports.store.count_prepared(model, 16) == 1
        ports.store.purge(jobs[3].id)
        assert ports.store.count_prepared(model, 16) == 0

    def test_a_job_that_is_as_long_as_its_input_has_its_length_when_that_is_read(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**WITH_CONTROL, num_frames=None, endless_limit=800))
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == []
        lease = ports.claim(job, Lane.PREPARE)
        prepared = prepared_of(lease).model_copy(update={"whole_video": True, "num_frames": 32})
        ready = ports.store.commit_prepare(lease, prepared)
        assert (ready.spec.num_frames, ready.spec.endless_limit) == (32, None)
        assert ports.store.commit_prepare(lease, prepared) == ready
        assert (ready.revision, ready.version) == (job.revision + 1, job.version), "as after a PATCH of the length"
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == [job.id]
        ports.make_all_chunks(ready)
        told = ports.log.read(job.id)
        assert [event.data["frames_total"] for event in told] == [None, 32, 32, 32]
        ended = ports.store.get(job.id)
        assert ended.status is JobStatus.FINALIZING
        chunks = ports.store.chunks(job.id, "preview")
        ports.store.purge(job.id)
        assert ports.store.restore(ended, ChunkLists(tuple(chunks), ()))
        assert [event.data["frames_total"] for event in ports.log.read(job.id)] == [None, 32, 32, 32]

    def test_a_length_that_was_asked_for_stays_if_the_input_is_longer(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**WITH_CONTROL, num_frames=32))
        lease = ports.claim(job, Lane.PREPARE)
        prepared = prepared_of(lease).model_copy(update={"whole_video": True, "num_frames": 32})
        assert ports.store.commit_prepare(lease, prepared).spec == job.spec

    def test_preparing_is_committed_once_and_by_the_newest_token_only(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**WITH_VIDEO))
        first = ports.claim(job, Lane.PREPARE, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.PREPARE)
        second = ports.claim(job, Lane.PREPARE, worker="w2")
        with pytest.raises(StaleLease):
            ports.store.commit_prepare(first, prepared_of(first))
        ready = ports.store.commit_prepare(second, prepared_of(second))
        assert ports.store.commit_prepare(second, prepared_of(second)) == ready

    def test_a_job_cancelled_or_deleted_while_it_is_prepared_is_gone_at_once(self, ports: StorePorts) -> None:
        canceled, deleted = (ports.store.create(queued_job(number, **WITH_VIDEO)) for number in (1, 2))
        leases = [ports.claim(canceled, Lane.PREPARE), ports.claim(deleted, Lane.PREPARE, worker="w2")]
        assert ports.store.request_cancel(canceled.id).status is JobStatus.CANCELED
        ports.store.request_delete(deleted.id)
        assert ports.store.cancel_requested(canceled.id)
        with pytest.raises(StaleLease):
            ports.store.commit_prepare(leases[0], prepared_of(leases[0]))
        with pytest.raises(JobNotFound):
            ports.store.commit_prepare(leases[1], prepared_of(leases[1]))
        assert ports.store.lease_alive(deleted.id, Lane.PREPARE), "the janitor waits for it"
        for lease in leases:
            ports.store.release(lease, count_attempt=False)
            assert not ports.store.lease_alive(lease.job_id, Lane.PREPARE)
        assert ports.store.ready(Lane.PREPARE, "", 10) == []

    def test_lost_media_are_prepared_again_before_anything_else(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**WITH_VIDEO))
        lease = ports.claim(job, Lane.PREPARE)
        ports.store.commit_prepare(lease, prepared_of(lease))
        ports.make_chunk(job, 0)
        ports.store.repair(ports.claim(job), (), media=True)
        assert ports.store.claim(job.id, Lane.GENERATE, "w1", LONG) is None
        again = ports.claim(job, Lane.PREPARE)
        ports.store.commit_prepare(again, prepared_of(again))
        assert ports.make_chunk(job, 1).status is JobStatus.FINALIZING

    def test_a_running_job_cancelled_while_its_media_are_prepared_again_is_finalised(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**WITH_VIDEO))
        lease = ports.claim(job, Lane.PREPARE)
        ports.store.commit_prepare(lease, prepared_of(lease))
        ports.make_chunk(job, 0)
        ports.store.repair(ports.claim(job), (), media=True)
        again = ports.claim(job, Lane.PREPARE)
        assert ports.store.request_cancel(job.id).status is JobStatus.CANCELING
        assert ports.store.commit_prepare(again, prepared_of(again)).status is JobStatus.FINALIZING

    def test_what_is_prepared_is_restored(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(**WITH_VIDEO))
        lease = ports.claim(job, Lane.PREPARE)
        ready = ports.store.commit_prepare(lease, prepared_of(lease))
        ports.store.purge(job.id)
        assert ports.store.restore(ready, ChunkLists())
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == [job.id]
        assert ports.event_types(job) == ["job.queued"]

    # Who is next

    def test_what_has_begun_comes_first_then_the_oldest(self, ports: StorePorts) -> None:
        for number, age in ((1, 10), (2, 30), (3, 20)):
            ports.store.create(queued_job(number, age_seconds=age))
        ports.make_chunk(queued_job(1), 0)
        model, order = queued_job().spec.model, list[str]()
        while (lease := ports.store.claim_next([Lane.GENERATE], model, "w1", LONG)) is not None:
            order.append(lease.job_id)
        assert order == [queued_job(number).id for number in (1, 2, 3)]

    def test_a_job_without_an_end_takes_turns_with_new_ones_by_its_last_chunk(self, ports: StorePorts) -> None:
        ports.store.create(queued_job(1, age_seconds=60, num_frames=None, endless_limit=900))
        for number, age in ((2, 30), (3, -30)):
            ports.store.create(queued_job(number, age_seconds=age))
        ports.make_chunk(queued_job(1), 0)
        ports.store.create(queued_job(4, age_seconds=20, num_frames=32))
        ports.make_chunk(queued_job(4), 0)
        model, order = queued_job().spec.model, list[str]()
        while (lease := ports.store.claim_next([Lane.GENERATE], model, "w1", LONG)) is not None:
            order.append(lease.job_id)
        assert order == [queued_job(number).id for number in (4, 2, 1, 3)]

    def test_every_queue_has_its_own_jobs(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.ready(Lane.GENERATE, "another", 1) == []
        assert ports.store.ready(Lane.REFINE, job.spec.model, 1) == []
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == [job.id]
        ports.make_all_chunks(job)
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == []
        assert ports.store.ready(Lane.FINALIZE, "", 1) == [job.id]

    def test_waiting_is_the_head_of_each_queue_without_an_active_worker(self, ports: StorePorts) -> None:
        assert ports.store.queued_work() == []
        for number, model in ((1, "a"), (2, "a"), (3, "b")):
            ports.store.create(queued_job(number, age_seconds=-number, model=model))
        ports.claim(queued_job(3))
        assert [(head.lane, head.record.id) for head in ports.store.queued_work()] == [
            (Lane.GENERATE, queued_job(1).id)
        ]

    def test_a_long_queue_behind_many_workers_is_found(self, ports: StorePorts) -> None:
        for number in range(80):
            ports.claim(ports.store.create(queued_job(number, age_seconds=-number)))
        last = ports.store.create(queued_job(99, age_seconds=-99))
        assert ports.store.ready(Lane.GENERATE, last.spec.model, 1) == [last.id]

    def test_the_lane_of_a_dead_worker_is_released_at_once(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job, worker="doomed")
        assert ports.store.release_of_worker("doomed") == lease
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)
        state = ports.store.get(job.id).lane(Lane.GENERATE)
        assert (state.attempts, state.deaths) == (0, 1)
        assert ports.store.release_of_worker("doomed") is None
        assert ports.store.release_of_worker("nobody") is None

    def test_a_lane_that_a_dead_worker_has_committed_is_not_released(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.commit_chunk(ports.claim(job, worker="doomed"), chunk_of(job, 0), "f1")
        ports.claim(job, worker="w2")
        assert ports.store.release_of_worker("doomed") is None
        assert ports.store.lease_alive(job.id, Lane.GENERATE)

    def test_a_report_of_progress_tells_a_worker_to_stop(self, ports: StorePorts) -> None:
        canceled, deleted = (ports.store.create(queued_job(number)) for number in (1, 2))
        for job in (canceled, deleted):
            ports.claim(job)
            assert not ports.store.report_progress(job.id, progress(1))
        ports.store.request_cancel(canceled.id)
        assert ports.store.report_progress(canceled.id, progress(2))
        ports.store.request_delete(deleted.id)
        assert ports.store.report_progress(deleted.id, progress(2))
        ports.store.purge(deleted.id)
        assert ports.store.report_progress(deleted.id, progress(3))

    def test_a_job_that_kills_its_workers_while_others_get_on_is_poison(self, ports: StorePorts) -> None:
        poison = ports.store.create(queued_job(1))
        other = ports.store.create(queued_job(2, num_frames=160))
        for index in range(5):
            assert not ports.claim(poison, worker="doomed").poison
            ports.make_chunk(other, index)
            ports.store.release_of_worker("doomed")
        assert ports.claim(poison).poison

    def test_media_prepared_during_an_outage_of_engines_make_no_job_poison(self, ports: StorePorts) -> None:
        unlucky = ports.store.create(queued_job(1))
        for number in range(2, 8):
            assert not ports.claim(unlucky, worker="doomed").poison
            other = ports.store.create(queued_job(number, **WITH_VIDEO))
            lease = ports.claim(other, Lane.PREPARE)
            ports.store.commit_prepare(lease, prepared_of(lease))
            ports.store.release_of_worker("doomed")
        assert not ports.claim(unlucky).poison

    # Manifests and tombstones

    def test_every_change_that_lasts_makes_the_manifest_stale_until_it_is_stored(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.stale_manifests() == [job]
        assert ports.store.manifest_stored(job) is None
        assert ports.store.stale_manifests() == []
        newer = ports.make_chunk(job, 0)
        assert ports.store.stale_manifests() == [newer]
        assert ports.store.manifest_stored(job) == newer
        assert ports.store.manifest_stored(newer) is None
        assert ports.store.manifest_stored(job) == newer, "an older one was stored over it"
        assert ports.store.stale_manifests() == [newer]

    def test_a_late_manifest_of_a_record_that_was_lost_is_written_over(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lost = ports.make_chunk(job, 0)
        ports.store.request_delete(job.id)
        ports.store.purge(job.id)
        ports.store.remove_tombstone(job.id)
        assert ports.store.restore(job, ChunkLists())
        rebuilt = ports.store.get(job.id)
        assert ports.store.manifest_stored(lost) == rebuilt
        assert ports.store.stale_manifests() == [rebuilt]
        assert ports.store.manifest_stored(rebuilt) is None

    def test_a_new_prompt_is_logged_and_acts_from_the_next_chunk(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        steered = ports.store.steer(job.id, JobChange(prompt="a blue square", metadata={"a": "b"}))
        assert (steered.acts_from_frame, steered.record.spec.metadata) == (16, {"a": "b"})
        assert ports.store.get(job.id) == steered.record
        assert ports.store.stale_manifests() == [steered.record]
        assert ports.store.steer(job.id, JobChange(prompt="a blue square")).record == steered.record
        committed = ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        assert committed.spec.prompt_changes == (PromptChange(start_frame=16, text="a blue square"),)
        assert ports.event_types(job) == ["job.queued", "job.started", "job.prompt_changed", "chunk.completed"]

    def test_an_ended_job_is_extended_and_its_lanes_are_free(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=24))
        ports.make_all_chunks(job)
        ended = ports.finish(job)
        assert [record.id for record in ports.store.cleanup_pending(10)] == [job.id]
        longer = ports.store.extend(job.id, JobExtension(num_frames=24, prompt="a blue square"))
        assert (longer.status, longer.generation, longer.spec.num_frames) == (JobStatus.QUEUED, 1, 48)
        assert ports.store.get(job.id) == longer
        assert ports.store.stale_manifests() == [longer]
        assert ports.store.cleanup_pending(10) == []
        assert ended.expires_at is not None
        assert ports.store.expired(ended.expires_at) == []
        assert [one.id for one in ports.store.list(status=JobStatus.QUEUED).jobs] == [job.id]
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == [job.id]
        short = ports.store.chunks(job.id, "preview")[1]
        completed = chunk_of(longer, 1)
        ports.store.commit_chunk(ports.claim(job), completed, "f1")
        assert [chunk.num_frames for chunk in ports.store.chunks(job.id, "preview")] == [16, 16]
        ports.store.commit_chunk(ports.claim(job), chunk_of(longer, 2), "f1")
        assert ports.finish(job).earlier[0].replaced == short.model_copy(update={"timings": {}})
        assert ports.event_types(job)[4:] == [
            "job.succeeded",
            "job.queued",
            "job.prompt_changed",
            "job.started",
            "chunk.completed",
            "chunk.completed",
            "job.succeeded",
        ]

    def test_a_retried_job_can_be_claimed_although_a_worker_holds_its_old_lease(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        old = ports.claim(job)
        ports.store.fail(job.id, ERROR)
        ports.store.retry(job.id)
        assert not ports.store.renew(old, LONG)
        new = ports.claim(job, worker="w2")
        assert new.token > old.token
        ports.store.release(old, count_attempt=True)
        assert ports.store.lease_alive(job.id, Lane.GENERATE), "it is the other one's"
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(old, chunk_of(job, 0), "f1")

    def test_a_branch_waits_for_its_copies(self, ports: StorePorts) -> None:
        record = queued_job(num_frames=80).model_copy(
            update={"branched_from": BranchSource(job_id="job_x", from_chunk=2)}
        )
        job = ports.store.create(record)
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == []
        lease = ports.claim(job, Lane.PREPARE)
        copies = [chunk_of(job, index).model_copy(update={"version": 0}) for index in range(2)]
        copied = ports.store.commit_copies(lease, copies)
        assert (copied.chunks.count, copied.frames_done, copied.version) == (2, 32, 0)
        assert ports.store.commit_copies(lease, copies) == copied
        assert list(ports.store.chunks(job.id, "preview")) == copies
        assert ports.store.ready(Lane.PREPARE, "", 1) == []
        ports.make_chunk(job, 2)
        assert ports.event_types(job) == ["job.queued", "job.started", "chunk.completed"]

    def test_a_restored_log_has_the_prompts_under_their_ids(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        ports.make_chunk(job, 0)
        ports.store.steer(job.id, JobChange(prompt="a blue square"))
        steered = ports.make_chunk(job, 1)
        before = [(event.id, event.type, event.data) for event in ports.log.read(job.id)]
        lists = all_chunks(ports.store, job.id)
        ports.store.request_delete(job.id)
        ports.store.purge(job.id)
        ports.store.remove_tombstone(job.id)
        assert ports.store.restore(steered, lists)
        assert [(event.id, event.type, event.data) for event in ports.log.read(job.id)] == before

    def test_a_restored_log_has_the_lengths_of_their_time(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=None, endless_limit=900, **HOOKED))
        ports.make_chunk(job, 0)
        ports.store.steer(job.id, JobChange(num_frames=48))
        ports.make_chunk(job, 1)
        ports.store.steer(job.id, JobChange(num_frames=None), 500)
        ports.store.steer(job.id, JobChange(prompt="a blue square"))
        ended = ports.store.steer(job.id, JobChange(num_frames=32)).record
        assert (ended.status, ended.spec.endless_limit) == (JobStatus.FINALIZING, None)
        before = [(event.id, event.type, event.data) for event in ports.log.read(job.id)]
        assert [data["frames_total"] for *_, data in before] == [None, None, None, 48, None]
        totals = [json.loads(delivery.body)["data"]["frames_total"] for delivery in ports.outbox.of_job(job.id)]
        lists = all_chunks(ports.store, job.id)
        ports.store.request_delete(job.id)
        ports.store.purge(job.id)
        ports.store.remove_tombstone(job.id)
        assert ports.store.restore(ended, lists)
        assert [(event.id, event.type, event.data) for event in ports.log.read(job.id)] == before
        restored = [json.loads(delivery.body)["data"]["frames_total"] for delivery in ports.outbox.of_job(job.id)]
        assert (restored, totals) == ([None, 48], [None, 48])

    def test_a_deleted_job_has_a_tombstone_and_is_not_restored(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.request_delete(job.id)
        assert [record.id for record in ports.store.deleted()] == [job.id]
        with pytest.raises(JobNotFound):
            ports.store.manifest_stored(job)
        ports.store.purge(job.id)
        assert ports.store.has_tombstone(job.id)
        assert not ports.store.restore(job, ChunkLists())
        later = ports.clock.now() + timedelta(days=2)
        assert ports.store.expired_tombstones(ports.clock.now()) == []
        assert ports.store.expired_tombstones(later) == [job.id]
        ports.store.remove_tombstone(job.id)
        assert (ports.store.has_tombstone(job.id), ports.store.expired_tombstones(later)) == (False, [])

    def test_an_announced_job_is_forgotten_when_it_is_created(self, ports: StorePorts) -> None:
        ports.store.begin_create(queued_job(1).id)
        ports.store.begin_create("job_never")
        ports.store.create(queued_job(1))
        later = ports.clock.now() + timedelta(seconds=1)
        assert ports.store.unfinished_creates(later) == ["job_never"]
        assert ports.store.unfinished_creates(later - timedelta(days=1)) == []
        ports.store.forget_create("job_never")
        assert ports.store.unfinished_creates(later) == []

    def test_an_ended_job_waits_to_be_swept(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.cleanup_pending(10) == []
        ended = ports.store.fail(job.id, ERROR)
        assert ports.store.cleanup_pending(10) == [ended]
        ports.store.cleanup_done(job.id)
        assert ports.store.cleanup_pending(10) == []

    def test_a_job_being_canceled_whose_worker_is_gone_is_abandoned(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.claim(job, ttl=SHORT)
        ports.store.request_cancel(job.id)
        ports.wait_until_free(job.id, Lane.GENERATE)
        assert [record.id for record in ports.store.abandoned_cancels()] == [job.id]

    def test_a_damaged_chunk_is_made_again_without_a_second_event(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.make_all_chunks(job)
        damaged = ports.store.repair(ports.claim(job, Lane.FINALIZE), (0,))
        assert (damaged.status, damaged.repairs) == (JobStatus.RUNNING, (0,))
        events = ports.event_types(job)
        chunk = chunk_of(job, 0).model_copy(update={"state_sha256": "s"})
        repaired = ports.store.commit_repair(ports.claim(job), chunk)
        assert (repaired.status, repaired.repairs) == (JobStatus.FINALIZING, ())
        assert ports.store.chunks(job.id, "preview")[0] == chunk
        assert ports.event_types(job) == events

    def test_a_chunk_out_of_order_is_refused(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(ports.claim(job), chunk_of(job, 1), "f1")
        assert ports.store.get(job.id).version == 0

    def test_the_same_commit_twice_is_one(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        first = ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        assert ports.store.commit_chunk(lease, chunk_of(job, 0), "f1") == first
        assert ports.event_types(job).count("chunk.completed") == 1

    def test_a_commit_frees_the_lane_and_forgives_attempts(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.release(ports.claim(job), count_attempt=True)
        after = ports.make_chunk(job, 0)
        assert after.lane(Lane.GENERATE).attempts == 0
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)

    @pytest.mark.parametrize(("count_attempt", "attempts"), [(True, 1), (False, 0)])
    def test_a_released_lane_is_free(self, ports: StorePorts, count_attempt: bool, attempts: int) -> None:
        job = ports.store.create(queued_job())
        ports.store.release(ports.claim(job), count_attempt=count_attempt)
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)
        assert ports.store.get(job.id).lane(Lane.GENERATE).attempts == attempts

    def test_a_stale_release_leaves_the_newer_lease_alone(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        stale = ports.claim(job, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        newer = ports.claim(job)
        ports.store.release(stale, count_attempt=False)
        assert ports.store.renew(newer, LONG)

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

    # Restore

    def test_a_restored_job_goes_on_where_its_manifest_ended(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        zombie = ports.claim(job)
        record = ports.store.commit_chunk(zombie, chunk_of(job, 0), "f1")
        lists = all_chunks(ports.store, job.id)
        ports.store.purge(job.id)
        assert ports.store.restore(record, lists)
        assert ports.event_types(job) == ["job.queued", "job.started", "chunk.completed"]
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(zombie, chunk_of(job, 1), "f1")
        assert ports.make_chunk(job, 1).version == 2
        assert [chunk.version for chunk in ports.store.chunks(job.id, "preview")] == [1, 2]

    def test_a_restored_job_has_its_chunks_and_their_pages_are_stale(self, ports: StorePorts) -> None:
        job = queued_job(num_frames=16 * 90, refine=refine_spec())
        running = with_chunks(job, 90, 40).model_copy(update={"status": JobStatus.RUNNING, "revision": 7})
        lists = ChunkLists(chunks_of(job, 90), chunks_of(job, 40))
        assert ports.store.restore(running, lists)
        assert all_chunks(ports.store, job.id) == lists
        pages = [ChunkPage("preview", 0), ChunkPage("preview", 1), ChunkPage("refined", 0)]
        assert sorted(ports.store.stale_pages(job.id)) == pages
        ports.store.manifest_stored(ports.store.get(job.id))
        assert ports.store.stale_pages(job.id) == []

    # Chunks

    def test_chunks_are_read_by_their_place(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.chunks(job.id, "preview") == []
        ports.make_all_chunks(job)
        made = ports.store.chunks(job.id, "preview")
        assert [(chunk.index, chunk.version, chunk.fingerprint) for chunk in made] == [(0, 1, "f1"), (1, 2, "f1")]
        assert ports.store.get(job.id).chunks == totals_of(made)
        for start, stop in [(0, 1), (1, 2), (1, None), (0, 0), (2, None), (1, 9)]:
            expected = made[start:stop]
            assert list(ports.store.chunks(job.id, "preview", start, stop)) == list(expected)
        assert ports.store.chunks(job.id, "refined") == []
        with pytest.raises(JobNotFound):
            ports.store.chunks("job_nowhere", "preview")

    def test_a_page_is_stale_when_it_is_full_and_again_after_a_repair(self, ports: StorePorts) -> None:
        job = queued_job(num_frames=16 * 300)
        running = with_chunks(job, PAGE_CHUNKS - 1).model_copy(update={"status": JobStatus.RUNNING, "revision": 7})
        assert ports.store.restore(running, ChunkLists(chunks_of(job, PAGE_CHUNKS - 1)))
        assert ports.store.stale_pages(job.id) == []
        full = ports.make_chunk(job, PAGE_CHUNKS - 1)
        assert ports.store.stale_pages(job.id) == [ChunkPage("preview", 0)]
        damaged = ports.store.repair(ports.claim(job), (3,))
        ports.store.manifest_stored(full)
        assert ports.store.stale_pages(job.id) == []
        ports.store.commit_repair(ports.claim(job), chunk_of(job, 3).model_copy(update={"state_sha256": "s"}))
        ports.store.manifest_stored(damaged)
        assert ports.store.stale_pages(job.id) == [ChunkPage("preview", 0)]
        assert ports.store.chunks(job.id, "preview", 3, 4)[0].state_sha256 == "s"

    def test_the_log_of_a_long_job_keeps_the_newest_events(self, ports: StorePorts) -> None:
        job, count = queued_job(num_frames=16 * 5000), 4000
        running = with_chunks(job, count).model_copy(update={"status": JobStatus.RUNNING, "started_at": DAY_ONE})
        assert ports.store.restore(running, ChunkLists(chunks_of(job, count)))
        ports.make_chunk(job, count)
        log = [*ports.log.read(job.id, limit=10_000)]
        assert KEPT_EVENTS <= len(log) <= KEPT_EVENTS + 200
        assert log[-1].id == f"{count + 3}-0"
        assert [event.id for event in ports.log.read(job.id, "5-0", limit=3)] == [event.id for event in log[:3]]

    def test_of_the_webhooks_of_a_long_job_the_newest_ended_ones_are_kept_and_all_are_counted(
        self, ports: StorePorts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("redis", "testing"):
            monkeypatch.setattr(f"core.service.{module}.outbox.KEPT_DELIVERIES", 3)
        job = queued_job(num_frames=16 * 100, **HOOKED)
        running = with_chunks(job, 8).model_copy(update={"status": JobStatus.RUNNING, "started_at": DAY_ONE})
        assert ports.store.restore(running, ChunkLists(chunks_of(job, 8)))
        ports.pass_time(86_400.0)
        for number in range(1, 7):
            (due,) = ports.outbox.take_due(1, LONG)
            assert ports.outbox.record(due.model_copy(update={"state": "delivered", "next_attempt_at": None})) == number
        assert [delivery.order[0] for delivery in ports.outbox.of_job(job.id)] == [4, 5, 6, 7, 8]

    # What clients poll

    def test_a_mark_changes_with_everything_that_a_client_sees(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        marks = [*ports.store.marks([job.id])]

        def changed() -> bool:
            marks.extend(ports.store.marks([job.id]))
            assert marks[-1] == ports.store.look(job.id).mark
            return marks[-1] not in marks[:-1]

        older = ports.store.create(queued_job(2, age_seconds=60))
        assert changed()
        lease = ports.claim(job)
        assert changed()
        ports.store.report_progress(job.id, progress(1))
        assert changed()
        ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        assert changed()
        ports.store.request_cancel(older.id)
        assert ports.store.marks([job.id]) == marks[-1:]

    def test_a_look_has_record_progress_and_place(self, ports: StorePorts) -> None:
        waiting, job = ports.store.create(queued_job(2)), ports.store.create(queued_job())
        ports.claim(job)
        ports.store.report_progress(job.id, progress(3))
        for each in (waiting, job):
            seen = ports.store.look(each.id)
            assert (seen.record, seen.live) == (ports.store.get(each.id), ports.store.live_statuses([seen.record])[0])
        assert ports.store.look(waiting.id).live.queue_position == 1
        two = [ports.store.look(each.id) for each in (waiting, job)]
        assert ports.store.looks([waiting.id, "job_nowhere", job.id]) == [two[0], None, two[1]]
        assert ports.store.marks([waiting.id, "job_nowhere", job.id]) == [two[0].mark, None, two[1].mark]
        ports.store.request_delete(job.id)
        gone, still = ports.store.looks([job.id, waiting.id])
        assert gone is None
        assert still
        assert (still.record, still.live.queue_position) == (two[0].record, 1)
        for job_id in (job.id, "job_nowhere"):
            with pytest.raises(JobNotFound):
                ports.store.look(job_id)

    def test_restore_overwrites_nothing(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        newer = ports.make_chunk(job, 0)
        assert not ports.store.restore(job, ChunkLists())
        assert ports.store.get(job.id) == newer

    # Links

    def test_a_new_link_secret_is_a_change_that_reaches_the_manifest(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.manifest_stored(job)
        changed = ports.store.revoke_links(job.id, "b" * 32)
        assert changed == job.model_copy(update={"link_secret": "b" * 32, "revision": job.revision + 1})
        assert ports.store.get(job.id) == changed == ports.store.revoke_links(job.id, "b" * 32)
        assert ports.store.stale_manifests() == [changed]
        assert ports.event_types(job) == ["job.queued"]

    def test_links_of_a_deleted_job_cannot_be_revoked(self, ports: StorePorts) -> None:
        ports.store.request_delete(ports.store.create(queued_job()).id)
        with pytest.raises(JobNotFound):
            ports.store.revoke_links(queued_job().id, "b" * 32)

    # Lists

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

    # Progress and following

    def test_progress_is_the_last_report_until_the_commit(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        assert progress_of(ports.store, job.id) is None
        for step in (1, 2):
            ports.store.report_progress(job.id, progress(step))
        assert progress_of(ports.store, job.id) == progress(2)
        ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        assert progress_of(ports.store, job.id) is None

    def test_the_log_is_read_on_from_any_event(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.make_all_chunks(job)
        whole = ports.log.read(job.id)
        assert ports.log.read(job.id, after=whole[1].id) == whole[2:]
        assert ports.log.read(job.id, limit=2) == whole[:2]
        assert whole[2].data["chunk"]["index"] == 0

    def test_following_yields_existing_events_at_once(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        start = LogPosition("0-0", ports.log.newest([job.id])[job.id].reports)
        (news,) = ports.log.follow({job.id: start}, LONG)
        assert (news.job_id, news.events) == (job.id, ports.log.read(job.id))
        assert news.position == ports.log.newest([job.id])[job.id]

    def test_following_wakes_up_for_an_event_of_any_job(self, ports: StorePorts) -> None:
        jobs = [ports.store.create(queued_job(number)) for number in (1, 2, 3)]
        positions = ports.log.newest([job.id for job in jobs])
        canceler = threading.Timer(0.1, ports.store.request_cancel, [jobs[1].id])
        canceler.start()
        (news,) = ports.log.follow(positions, LONG)
        canceler.join()
        assert (news.job_id, [event.type for event in news.events]) == (jobs[1].id, ["job.canceled"])
        assert ports.log.follow({**positions, jobs[1].id: news.position}, 0.01) == []

    def test_following_wakes_up_for_new_progress_only(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.report_progress(job.id, progress(1))
        positions = ports.log.newest([job.id])
        reporter = threading.Timer(0.1, ports.store.report_progress, [job.id, progress(2)])
        reporter.start()
        (news,) = ports.log.follow(positions, LONG)
        reporter.join()
        assert (news.events, news.progress) == ([], [progress(2)])
        assert ports.log.follow({job.id: news.position}, 0.01) == []

    def test_following_ends_when_the_time_is_up(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.log.follow(ports.log.newest([job.id, "job_unknown"]), 0.01) == []

    def test_jobs_without_a_log_stand_at_its_beginning(self, ports: StorePorts) -> None:
        assert ports.log.newest(["job_unknown"])["job_unknown"].event == "0-0"

    def test_jobs_that_no_worker_continues_are_stopped(self, ports: StorePorts) -> None:
        running, canceled, ended, deleted = (ports.store.create(queued_job(number)) for number in (1, 2, 3, 4))
        ports.claim(running)
        ports.claim(canceled)
        ports.store.request_cancel(canceled.id)
        ports.store.request_cancel(ended.id)
        ports.store.request_delete(deleted.id)
        ports.store.purge(deleted.id)
        asked = [running.id, canceled.id, ended.id, deleted.id, "job_unknown"]
        assert sorted(ports.log.stopped(asked)) == sorted(asked[1:])

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


def upload_at(moment: datetime, **more: Any) -> Upload:
    return Upload(
        id=new_upload_id(),
        content_type="video/mp4",
        size_bytes=7,
        created_at=moment,
        expires_at=moment + timedelta(days=1),
        **more,
    )
