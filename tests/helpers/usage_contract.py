"""What the ports that count a key's usage have in common, as one suite for the real ones and the fakes.

A module that wants it run has a fixture `ports` and a class `Test...(UsageContract)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import LimitReached, LongtakeError, UsageUnknown
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.ids import new_upload_id
from core.service.domain.ports import JobStore, Lease, RequestCounts, Results, UploadStore, Usage
from core.service.domain.refine_plan import refine_piece, spans_of
from core.service.domain.schema import (
    VARIANTS,
    BranchSource,
    ChunkRecord,
    JobChange,
    JobError,
    JobExtension,
    JobRecord,
    JobStatus,
    Lane,
    PreparedMedia,
)
from core.service.domain.transitions import awaits_copies
from core.service.domain.uploads import Upload
from core.service.domain.usage import KeyUsage
from core.service.records.chunk_reads import all_chunks
from core.service.testing.clock import FakeClock
from tests.helpers.jobs import chunk_of, job_spec, refine_spec

LEASE_SECONDS = 60.0
CHUNK_BYTES = 5000
MAX_PIECES = 100
ERROR = JobError(code="boom", message="it broke", retryable=True)
_names = itertools.count()


class NothingToDo(LongtakeError):
    """No lane of the job can be claimed."""


@dataclass
class UsagePorts:
    """One implementation of the ports that write and read usage. Each `Key` in it is a new one."""

    clock: FakeClock
    store: JobStore
    uploads: UploadStore
    usage: Usage
    counts: RequestCounts
    lose_all: Callable[[], None]
    """Loses everything that is counted and stored."""
    mark_rebuilt: Callable[[], None]
    """What was lost is there again, as far as it can be."""

    def key(self) -> KeyOf:
        return KeyOf(self, f"key_{next(_names)}")


@dataclass
class KeyOf:
    """A key, and what its holder and the workers do."""

    ports: UsagePorts
    id: str
    ids: list[str] = field(default_factory=list[str])
    uploaded: int = 0
    """Bytes."""
    frames_purged: int = 0
    """Frames that count of jobs that are gone."""

    @property
    def store(self) -> JobStore:
        return self.ports.store

    @property
    def used(self) -> KeyUsage:
        return self.ports.usage.of(self.id)

    def create(self, limits: KeyLimits | None = None, shares: int = 0, job_id: str = "", **spec: Any) -> str:
        """Without anything said: 32 frames."""
        job_id = job_id or f"job-{next(_names)}"
        source = BranchSource(job_id="job_x", from_chunk=shares) if shares else None
        record = JobRecord(
            id=job_id,
            owner=self.id,
            status=JobStatus.QUEUED,
            spec=job_spec(**spec),
            created_at=self.ports.clock.now(),
            branched_from=source,
        )
        self.store.create(record, limits)
        self.ids.append(job_id)
        return job_id

    def upload(self, size_bytes: int, limits: KeyLimits | None = None) -> Upload:
        now = self.ports.clock.now()
        end = now + timedelta(hours=1)
        upload = Upload(
            id=new_upload_id(),
            content_type="video/mp4",
            size_bytes=size_bytes,
            created_at=now,
            expires_at=end,
            owner=self.id,
        )
        self.ports.uploads.create(upload, limits)
        self.uploaded += size_bytes
        return upload

    def claim(self, job_id: str, lane: Lane = Lane.GENERATE) -> Lease:
        lease = self.store.claim(job_id, lane, "w1", LEASE_SECONDS)
        if lease is None:
            raise NothingToDo
        return lease

    def copy(self, job_id: str) -> None:
        record = self.store.get(job_id)
        copies = [chunk_of(record, index) for index in range(_shared(record) // CHUNK_FRAMES)]
        self.store.commit_copies(self.claim(job_id, Lane.PREPARE), copies)

    def make_chunk(self, job_id: str) -> None:
        record = self.store.get(job_id)
        last = record.chunks.last
        index = record.chunks.count - (last is not None and last.num_frames < 16 and not record.is_complete)
        self.store.commit_chunk(self.claim(job_id), _chunk(record, index), "f1")

    def refine(self, job_id: str) -> None:
        """The next piece."""
        lease = self.claim(job_id, Lane.REFINE)
        record = self.store.get(job_id)
        spans = spans_of(refine_piece(record.spec, record.refine_done).publishes, record.spec.length)
        chunks = tuple(_chunk(record, span.index) for span in spans)
        self.store.commit_refined(lease, record.refine_done + 1, chunks, "r1")

    def finish(self, job_id: str, video_bytes: int = 9000) -> None:
        self.store.finish(self.claim(job_id, Lane.FINALIZE), Results("v", None, "t", video_bytes))

    def complete(self, job_id: str) -> None:
        """All that is left of the job is made."""
        for _ in range(MAX_PIECES):
            record = self.store.get(job_id)
            if record.status not in {JobStatus.QUEUED, JobStatus.RUNNING}:
                break
            if awaits_copies(record):
                self.copy(job_id)
            elif not record.is_complete:
                self.make_chunk(job_id)
            else:
                self.refine(job_id)
        self.finish(job_id)

    def purge(self, job_id: str) -> None:
        """As the janitor does with a job that was deleted or has expired."""
        if (record := self._records().get(job_id)) is not None and record.status.is_terminal:
            self.frames_purged += _frames(record)
            self.store.purge(job_id)

    def expected(self) -> KeyUsage:
        """What the key uses by its records, if all was on one day."""
        records = self._records().values()
        kept = [record for record in records if not record.delete_requested]
        return KeyUsage(
            unfinished_jobs=sum(not record.status.is_terminal for record in kept),
            frames_today=self.frames_purged + sum(_frames(record) for record in records),
            stored_bytes=self.uploaded + sum(_bytes(self.store, record) for record in kept),
        )

    def _records(self) -> dict[str, JobRecord]:
        listed = [*self.store.list(owner=self.id, limit=1000).jobs, *self.store.deleted()]
        return {record.id: record for record in listed if record.owner == self.id}


Deed = Callable[[KeyOf, str, int], object]
DEEDS: dict[str, Deed] = {
    "branch": lambda key, _job, frames: key.create(num_frames=frames + 1, shares=1),
    "cancel": lambda key, job, _: key.store.request_cancel(job),
    "complete": lambda key, job, _: key.complete(job),
    "copy": lambda key, job, _: key.copy(job),
    "create": lambda key, _job, frames: key.create(num_frames=frames),
    "create as an upload is called": lambda key, _job, frames: key.create(job_id=key.upload(frames).id),
    "delete": lambda key, job, _: key.store.request_delete(job),
    "extend": lambda key, job, frames: key.store.extend(job, JobExtension(num_frames=frames)),
    "fail": lambda key, job, _: key.store.fail(job, ERROR),
    "finish": lambda key, job, frames: key.finish(job, frames),
    "lengthen": lambda key, job, frames: key.store.steer(job, JobChange(num_frames=frames)),
    "make": lambda key, job, _: key.make_chunk(job),
    "purge": lambda key, job, _: key.purge(job),
    "refine": lambda key, job, _: key.refine(job),
    "refined": lambda key, _job, frames: key.create(num_frames=frames, refine=refine_spec()),
    "retry": lambda key, job, _: key.store.retry(job),
    "unlimit": lambda key, job, frames: key.store.steer(job, JobChange(num_frames=None), 10 * frames),
    "upload": lambda key, _job, frames: key.upload(frames),
}


QUICK = (Phase.explicit, Phase.generate)
"""Without shrinking: an example has many steps, and to shrink it takes minutes."""
SHARED = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)
"""Checks that do not fit a contract: each class that keeps it runs it with ports of its own."""
DONE = st.tuples(st.sampled_from(sorted(DEEDS)), st.integers(0, 1), st.integers(16, 40))


def _chunk(record: JobRecord, index: int) -> ChunkRecord:
    """A chunk whose size depends on its frames."""
    chunk = chunk_of(record, index)
    return chunk.model_copy(update={"size_bytes": chunk.size_bytes - CHUNK_FRAMES + chunk.num_frames})


def _shared(record: JobRecord) -> int:
    return CHUNK_FRAMES * record.branched_from.from_chunk if record.branched_from else 0


def _frames(record: JobRecord) -> int:
    """Frames that a job has asked for and not given back, if all was on one day."""
    made = record.frames_done or _shared(record)
    return (made if record.status.is_terminal else record.spec.length) - _shared(record)


def _bytes(store: JobStore, record: JobRecord) -> int:
    chunks = [chunk for variant in VARIANTS for chunk in store.chunks(record.id, variant)]
    return sum(chunk.size_bytes for chunk in chunks) + record.video_bytes


class UsageContract:
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

    # Limits

    def test_jobs_beyond_the_limit_are_refused_until_one_ends(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(unfinished_jobs=2)
        first = key.create(limits)
        key.create(limits)
        with pytest.raises(LimitReached, match="2 jobs that have not ended; it may have 2") as refused:
            key.create(limits)
        assert refused.value.retry_seconds == 30
        key.store.request_cancel(first)
        key.create(limits)
        with pytest.raises(LimitReached):
            key.store.retry(first, limits)
        assert key.used.unfinished_jobs == 2
        ports.key().create(limits)

    def test_frames_beyond_the_day_are_refused_until_midnight(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(frames_per_day=100)
        ports.clock.advance(86_400 - 3600 - ports.clock.now().timestamp() % 86_400)
        job = key.create(limits, num_frames=80)
        with pytest.raises(LimitReached, match="32 frames are asked for; the API key has 20 of its 100") as refused:
            key.create(limits)
        assert (refused.value.retry_seconds, refused.value.field) == (3600, "num_frames")
        with pytest.raises(LimitReached):
            key.store.steer(job, JobChange(num_frames=101), limits=limits)
        key.store.steer(job, JobChange(num_frames=100), limits=limits)
        key.store.steer(job, JobChange(prompt="a blue square", num_frames=90), limits=limits)
        ports.clock.advance(3600)
        key.create(limits, num_frames=100)

    def test_an_extension_beyond_the_day_is_refused(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(frames_per_day=64)
        job = key.create(limits)
        key.make_chunk(job)
        key.make_chunk(job)
        key.finish(job)
        with pytest.raises(LimitReached):
            key.store.extend(job, JobExtension(num_frames=33), limits)
        key.store.extend(job, JobExtension(num_frames=32), limits)

    def test_nothing_is_stored_beyond_the_limit(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(stored_bytes=CHUNK_BYTES)
        with pytest.raises(LimitReached):
            key.upload(CHUNK_BYTES + 1, limits)
        upload = key.upload(CHUNK_BYTES - 1, limits)
        job = key.create(limits)
        key.make_chunk(job)
        with pytest.raises(LimitReached, match="bytes of videos and uploads stored; it may have 5000"):
            key.create(limits)
        with pytest.raises(LimitReached):
            key.upload(1, limits)
        key.store.request_cancel(key.create())
        key.store.request_delete(job)
        ports.uploads.remove(upload.id)
        key.create(limits)

    @pytest.mark.parametrize("limit", ["unfinished_jobs", "frames_per_day", "stored_bytes"])
    def test_nobody_gets_more_than_the_limits_while_what_is_used_is_counted_again(
        self, ports: UsagePorts, limit: str
    ) -> None:
        key, limits, other = ports.key(), KeyLimits.model_validate({limit: 1000}), KeyLimits(frames=1000)
        ports.lose_all()
        ended, running = key.create(other), key.create()
        key.store.request_cancel(ended)
        refused: list[Callable[[], object]] = [
            lambda: key.create(limits),
            lambda: key.store.retry(ended, limits),
            lambda: key.store.extend(ended, JobExtension(num_frames=16), limits),
            lambda: key.store.steer(running, JobChange(num_frames=33), limits=limits),
        ]
        for ask in refused:
            with pytest.raises(UsageUnknown):
                ask()
        key.store.steer(running, JobChange(prompt="a blue square", num_frames=31), limits=limits)
        ports.mark_rebuilt()
        key.create(limits)

    def test_nothing_is_uploaded_while_the_bytes_are_counted_again(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(stored_bytes=CHUNK_BYTES)
        ports.lose_all()
        key.upload(1, KeyLimits(unfinished_jobs=1))
        with pytest.raises(UsageUnknown):
            key.upload(1, limits)
        ports.mark_rebuilt()
        key.upload(1, limits)

    def test_a_refused_job_leaves_nothing(self, ports: UsagePorts) -> None:
        key = ports.key()
        with pytest.raises(LimitReached):
            key.create(KeyLimits(unfinished_jobs=0))
        assert key.used == key.expected() == KeyUsage()

    def test_requests_are_counted_by_key_and_window(self, ports: UsagePorts) -> None:
        key, other = ports.key().id, ports.key().id
        assert [ports.counts.take(key, 7, portion) for portion in (10, 5, 1)] == [0, 10, 15]
        assert (ports.counts.take(key, 8, 1), ports.counts.take(other, 7, 1)) == (0, 0)

    # Nothing drifts

    @settings(max_examples=60, deadline=None, suppress_health_check=SHARED)
    @given(done=st.lists(DONE, min_size=10, max_size=50))
    def test_whatever_is_done_the_count_is_that_of_the_records(
        self, ports: UsagePorts, done: list[tuple[str, int, int]]
    ) -> None:
        ports.lose_all()
        ports.mark_rebuilt()
        key = ports.key()
        key.create()
        for deed, number, frames in done:
            with suppress(LongtakeError):
                DEEDS[deed](key, key.ids[number % len(key.ids)], frames)
            assert key.used == key.expected(), deed
