"""The ports that the contract tests, and the keys by which its tests use them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import LongtakeError
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.ids import new_upload_id
from core.service.domain.ports import JobStore, Lease, RequestCounts, Results, UploadStore, Usage
from core.service.domain.refine_plan import refine_piece, spans_of
from core.service.domain.schema import (
    VARIANTS,
    BranchSource,
    ChunkRecord,
    JobError,
    JobRecord,
    JobStatus,
    Lane,
)
from core.service.domain.transitions import awaits_copies
from core.service.domain.uploads import Upload
from core.service.domain.usage import KeyUsage
from core.service.testing.clock import FakeClock
from tests.helpers.jobs import chunk_of, job_spec

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
