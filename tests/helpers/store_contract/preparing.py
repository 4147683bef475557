"""Jobs that begin with media of their own."""

from __future__ import annotations

import pytest

from core.service.domain.errors import JobNotFound, StaleLease
from core.service.domain.schema import (
    ChunkLists,
    JobStatus,
    Lane,
)
from tests.helpers.jobs import (
    queue_position_of,
    queued_job,
)
from tests.helpers.store_contract.ports import (
    LONG,
    ODD,
    SHORT,
    WITH_CONTROL,
    WITH_VIDEO,
    StorePorts,
    prepared_of,
)


class PreparingContract:
    """Every test gets fresh, empty `ports`."""

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
