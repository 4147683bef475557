"""What is changed later: prompts, lengths, retries, branches; and the manifests that must follow."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from core.service.domain.errors import JobNotFound, StaleLease
from core.service.domain.schema import (
    BranchSource,
    ChunkLists,
    JobChange,
    JobExtension,
    JobStatus,
    Lane,
    PromptChange,
)
from core.service.records.chunk_reads import all_chunks
from tests.helpers.jobs import (
    chunk_of,
    queued_job,
)
from tests.helpers.store_contract.ports import (
    ERROR,
    HOOKED,
    LONG,
    SHORT,
    StorePorts,
)


class ChangeContract:
    """Every test gets fresh, empty `ports`."""

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
