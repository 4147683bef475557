"""What counts: jobs, frames and bytes, from when, and until when."""

from __future__ import annotations

from core.service.domain.schema import JobChange, JobExtension, JobRecord, JobStatus, Lane, PreparedMedia
from core.service.domain.usage import KeyUsage
from core.service.records.chunk_reads import all_chunks
from tests.helpers.jobs import job_spec, refine_spec
from tests.helpers.usage_contract.keys import CHUNK_BYTES, ERROR, UsagePorts


class CountingContract:
    """Every test gets `ports`, and makes keys of its own."""

    def test_a_key_that_has_done_nothing_uses_nothing(self, ports: UsagePorts) -> None:
        assert ports.key().used == KeyUsage()

    def test_a_job_counts_from_its_creation_to_its_end(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create()
        assert key.used == KeyUsage(unfinished_jobs=1, frames_today=32)
        key.make_chunk(job)
        key.make_chunk(job)
        assert key.used == KeyUsage(unfinished_jobs=1, frames_today=32, stored_bytes=10_001)
        key.finish(job)
        assert key.used == KeyUsage(frames_today=32, stored_bytes=19_001)
        assert ports.key().used == KeyUsage(), "others use nothing"

    def test_refined_chunks_are_stored_too(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(refine=refine_spec())
        key.make_chunk(job)
        key.make_chunk(job)
        key.refine(job)
        assert key.used.stored_bytes == 15_001

    def test_a_canceled_job_gives_back_what_it_did_not_make(self, ports: UsagePorts) -> None:
        key = ports.key()
        queued, running = key.create(num_frames=80), key.create(num_frames=160)
        key.make_chunk(running)
        key.store.request_cancel(queued)
        assert key.used == KeyUsage(unfinished_jobs=1, frames_today=160, stored_bytes=5000)
        key.store.request_cancel(running)
        assert key.used.unfinished_jobs == 1, "it is finalized"
        key.finish(running)
        assert key.used == KeyUsage(frames_today=16, stored_bytes=14_000)

    def test_a_failed_job_gives_back_too_and_takes_again_when_it_is_retried(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(num_frames=160)
        key.make_chunk(job)
        key.store.fail(job, ERROR)
        assert key.used == KeyUsage(frames_today=16, stored_bytes=5000)
        key.store.retry(job)
        assert key.used == KeyUsage(unfinished_jobs=1, frames_today=160, stored_bytes=5000)

    def test_nothing_is_given_back_for_a_day_that_is_over(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(num_frames=160)
        ports.clock.advance(86_400)
        assert key.used == KeyUsage(unfinished_jobs=1)
        key.create(num_frames=32)
        key.store.request_cancel(job)
        assert key.used == KeyUsage(unfinished_jobs=1, frames_today=32)

    def test_only_what_was_asked_for_today_is_given_back_today(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(num_frames=160)
        ports.clock.advance(86_400)
        key.store.steer(job, JobChange(num_frames=200))
        assert key.used.frames_today == 40
        key.store.request_cancel(job)
        assert key.used.frames_today == 0

    def test_a_length_that_changes_counts(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(num_frames=80)
        key.store.steer(job, JobChange(num_frames=100))
        assert key.used.frames_today == 100
        key.store.steer(job, JobChange(num_frames=100))
        assert key.used.frames_today == 100
        key.store.steer(job, JobChange(num_frames=48))
        assert key.used.frames_today == 48
        key.store.steer(job, JobChange(num_frames=None), 1000)
        assert key.used.frames_today == 1000
        key.store.steer(job, JobChange(prompt="a blue square"))
        assert key.used.frames_today == 1000

    def test_what_an_input_is_shorter_than_the_limit_is_given_back(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(num_frames=None, endless_limit=800, video="https://example.com/a.mp4")
        assert key.used.frames_today == 800
        prepared = PreparedMedia(key="p", sha256="a", at=ports.clock.now(), whole_video=True, num_frames=40)
        key.store.commit_prepare(key.claim(job, Lane.PREPARE), prepared)
        assert key.used.frames_today == 40

    def test_an_extension_counts_what_it_adds(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(num_frames=24)
        key.make_chunk(job)
        key.make_chunk(job)
        key.finish(job)
        key.store.extend(job, JobExtension(num_frames=40))
        assert key.used == KeyUsage(unfinished_jobs=1, frames_today=64, stored_bytes=18_993)
        key.make_chunk(job)
        assert key.used.stored_bytes == 19_001, "the short chunk is replaced by a whole one"

    def test_a_branch_does_not_count_the_frames_that_it_shares(self, ports: UsagePorts) -> None:
        key = ports.key()
        copied, canceled = (key.create(shares=2, num_frames=80) for _ in range(2))
        assert key.used == KeyUsage(unfinished_jobs=2, frames_today=96)
        key.copy(copied)
        assert key.used == KeyUsage(unfinished_jobs=2, frames_today=96, stored_bytes=10_001)
        key.store.request_cancel(canceled)
        assert key.used == KeyUsage(unfinished_jobs=1, frames_today=48, stored_bytes=10_001)

    def test_a_deleted_job_frees_its_bytes_at_once_and_keeps_its_frames(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(num_frames=160)
        key.make_chunk(job)
        key.store.request_delete(job)
        assert key.used == KeyUsage(frames_today=16)
        key.store.purge(job)
        assert key.used == KeyUsage(frames_today=16)

    def test_a_job_that_is_purged_without_being_deleted_is_gone_too(self, ports: UsagePorts) -> None:
        key = ports.key()
        job = key.create(num_frames=160)
        key.make_chunk(job)
        key.store.purge(job)
        key.store.purge(job)
        assert key.used == KeyUsage(frames_today=160)

    def test_uploads_are_stored_until_they_are_removed(self, ports: UsagePorts) -> None:
        key = ports.key()
        first, second, third = (key.upload(size) for size in (100, 20, 3))
        assert key.used == KeyUsage(stored_bytes=123)
        now = ports.clock.now()
        ports.uploads.discard(first.id, now, now)
        ports.uploads.remove(second.id)
        ports.uploads.remove(second.id)
        assert key.used == KeyUsage(stored_bytes=3)
        ports.uploads.remove(third.id)
        assert key.used == KeyUsage()

    def test_a_job_may_be_called_as_an_upload_is(self, ports: UsagePorts) -> None:
        key = ports.key()
        uploads = [key.upload(100) for _ in range(2)]
        first, second = (key.create(job_id=upload.id) for upload in uploads)
        assert key.used == KeyUsage(unfinished_jobs=2, frames_today=64, stored_bytes=200)
        key.make_chunk(first)
        assert key.used.stored_bytes == 200 + CHUNK_BYTES
        ports.uploads.remove(first)
        assert key.used == KeyUsage(unfinished_jobs=2, frames_today=64, stored_bytes=100 + CHUNK_BYTES)
        key.store.purge(second)
        assert key.used == KeyUsage(unfinished_jobs=1, frames_today=64, stored_bytes=100 + CHUNK_BYTES)

    def test_jobs_without_an_owner_count_for_nobody(self, ports: UsagePorts) -> None:
        record = ports.store.create(
            JobRecord(id="free", status=JobStatus.QUEUED, spec=job_spec(), created_at=ports.clock.now())
        )
        assert record.counted_frames is None

    def test_what_is_rebuilt_counts_again(self, ports: UsagePorts) -> None:
        key = ports.key()
        running, ended = key.create(num_frames=160), key.create(num_frames=16)
        key.make_chunk(running)
        key.make_chunk(ended)
        key.finish(ended)
        before = key.used
        stored = [(key.store.get(job), all_chunks(key.store, job)) for job in key.ids]
        ports.lose_all()
        assert key.used == KeyUsage(complete=False)
        for record, lists in stored:
            key.store.restore(record, lists)
            key.store.restore(record, lists)
        ports.mark_rebuilt()
        assert key.used == before
