"""The ports of the service: what it needs of a store, an object storage, a task queue and a clock.

Real ones: job_store.py (Redis), storage.py (S3), queue.py (Celery). Fakes with the same contract: fakes.py.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from core.service.domain.schema import (
    ChunkRecord,
    EventType,
    JobError,
    JobEvent,
    JobRecord,
    JobStatus,
    JobWarning,
    Lane,
    PreparedMedia,
    StepProgress,
    Stored,
)
from core.service.domain.uploads import Upload


class Clock(Protocol):
    """Wall time, timezone-aware UTC."""

    def now(self) -> datetime: ...


@dataclass(frozen=True)
class Lease:
    """A worker's claim on one lane of a job. `token` fences: a commit with an older token is refused."""

    job_id: str
    lane: Lane
    token: int
    worker: str
    poison: bool = False
    """This piece of the job has ended so many workers that it shall not be made again."""


@dataclass(frozen=True)
class Waiting:
    """A queue in which a job waits that nobody works on: the job that comes next."""

    lane: Lane
    record: JobRecord


@dataclass(frozen=True)
class LiveStatus:
    """What the store knows of a job beside its record: steps of what is being made, and its place in the queue."""

    steps: Mapping[Lane, StepProgress] = field(default_factory=dict[Lane, StepProgress])
    queue_position: int | None = None
    """1 = next of its model's queued jobs; None once started."""


@dataclass(frozen=True)
class Results:
    """Keys of what finalising made; None where there was nothing to make it of."""

    video_key: str | None = None
    refined_video_key: str | None = None
    thumbnail_key: str | None = None


@dataclass(frozen=True)
class JobPage:
    """A page of jobs, newest first; `next_cursor` is None on the last one."""

    jobs: Sequence[JobRecord]
    next_cursor: str | None


class JobStore(Protocol):
    """Records, leases, progress. Every change of a record, its event and its webhook deliveries is one transaction.

    Methods that return a record, a lease or a position raise JobNotFound where the job does not exist (or was
    deleted); the others do nothing there, so that a worker can always let go. All raise StoreError where the store
    does not answer. A change repeated because its answer was lost is made once.
    """

    def ping(self) -> None: ...

    def announce(self, job_id: str) -> None:
        """Note that this job's manifest is about to be stored; `create` ends that."""
        ...

    def announced_before(self, moment: datetime) -> Sequence[str]:
        """Jobs announced before `moment` that were not created."""
        ...

    def forget_announced(self, job_id: str) -> None: ...

    def create(self, record: JobRecord) -> JobRecord:
        """Store a queued job with its job.queued event."""
        ...

    def restore(self, record: JobRecord) -> bool:
        """Put back a record rebuilt from a manifest; False where one exists already (it is never overwritten)."""
        ...

    def get(self, job_id: str) -> JobRecord: ...

    def list(self, *, status: JobStatus | None = None, limit: int = 20, cursor: str | None = None) -> JobPage:
        """Newest first. Raises InvalidField for a cursor that this service did not make."""
        ...

    def active(self) -> Sequence[JobRecord]:
        """All jobs not yet terminal, oldest first, plus ended ones whose deletion is pending."""
        ...

    def expired(self, now: datetime) -> Sequence[JobRecord]:
        """Ended jobs whose expires_at has passed."""
        ...

    def deleted(self) -> Sequence[JobRecord]:
        """Jobs marked for deletion whose keys are still here."""
        ...

    def abandoned(self) -> Sequence[JobRecord]:
        """Jobs that are being cancelled and that no live lease holds: nobody is left to wind them up."""
        ...

    def waiting(self) -> Sequence[Waiting]:
        """Every queue with work that nobody does now. Looks only at queues, and at jobs in work."""
        ...

    def next_ready(self, lane: Lane, model: str) -> str | None:
        """The job that `claim_next` would take now."""
        ...

    def ready(self, lane: Lane, model: str, limit: int) -> Sequence[str]:
        """At most `limit` jobs that `claim_next` would take now, in its order."""
        ...

    def count_prepared(self, model: str, limit: int) -> int:
        """Jobs of a model whose media are ready and that have not begun; `limit` where there are more."""
        ...

    def index_again(self) -> int:
        """Put jobs that an older version has written into the queues; how many there were."""
        ...

    def claim_next(self, lane: Lane, model: str, worker: str, ttl_seconds: float) -> Lease | None:
        """Claim the job that comes next: what has begun first, then what is new; among equals the oldest."""
        ...

    def claim(self, job_id: str, lane: Lane, worker: str, ttl_seconds: float) -> Lease | None:
        """Take the lane. None where another live lease holds it, it rests, or the job does not want this lane now
        (prepare: queued/running, with media that is not ready; generate: queued/running, with media that is;
        refine: running, with the frames there; finalize: finalizing). Raises the fencing token; the first claim of
        generate moves queued -> running with job.started."""
        ...

    def renew(self, lease: Lease, ttl_seconds: float) -> bool:
        """Extend the lease, also one that has run out without another claim; False where it is lost."""
        ...

    def release(self, lease: Lease, *, count_attempt: bool, rest_seconds: float = 0.0) -> None:
        """Give the lane back without a commit; nobody claims it for `rest_seconds`. `count_attempt`: the engine has
        failed. Idempotent."""
        ...

    def give_back_of(self, worker: str) -> Lease | None:
        """The worker has died: free the lane that it holds, at once. None where it holds none. Idempotent."""
        ...

    def lease_alive(self, job_id: str, lane: Lane) -> bool: ...

    def commit_chunk(self, lease: Lease, chunk: ChunkRecord, fingerprint: str) -> JobRecord:
        """Append the next chunk, count it in `version`, log chunk.completed, clear progress, release the lease.

        After the last frame, and its refinement where asked for, the status becomes finalizing. Raises StaleLease
        where the token is old or chunk.index is not the next.
        """
        ...

    def commit_refined(
        self,
        lease: Lease,
        done: int,
        chunks: tuple[ChunkRecord, ...],
        fingerprint: str,
        state_sha256: str | None = None,
    ) -> JobRecord:
        """The same for a piece of refinement: `done` pieces are made now, the last published `chunks` (chunk.refined
        each) and left a state."""
        ...

    def commit_prepare(self, lease: Lease, prepared: PreparedMedia, warnings: tuple[JobWarning, ...] = ()) -> JobRecord:
        """What the job begins with is stored; from now on it wants to be generated. Releases the lease."""
        ...

    def repair(
        self, lease: Lease, chunks: tuple[int, ...], *, refine_from: int | None = None, media: bool = False
    ) -> JobRecord:
        """Give the lane back since objects of these chunks, or the refiner's states after piece `refine_from`, or what
        the job begins with (`media`), are damaged; they are made again before anything else."""
        ...

    def commit_repair(self, lease: Lease, chunk: ChunkRecord) -> JobRecord:
        """A damaged chunk is made again, with all its objects."""
        ...

    def begin_finalizing(self, job_id: str) -> JobRecord:
        """running | canceling -> finalizing (a canceled job keeps cancel_requested). Idempotent.

        Raises JobStateConflict where frames are missing and nobody asked to stop."""
        ...

    def finish(self, lease: Lease, results: Results) -> JobRecord:
        """finalizing -> succeeded, or canceled where a cancel came before all frames were made. Logs the event."""
        ...

    def fail(self, job_id: str, error: JobError) -> JobRecord:
        """Any non-terminal status -> failed, with job.failed. A terminal job is returned as it is."""
        ...

    def request_cancel(self, job_id: str) -> JobRecord:
        """queued -> canceled at once; running -> canceling. Idempotent while canceling/canceled.

        Raises JobStateConflict where the job has already succeeded, failed, expired or is finalizing."""
        ...

    def cancel_requested(self, job_id: str) -> bool:
        """True also for an ended, deleted or missing job: stop working on it. One round trip."""
        ...

    def request_delete(self, job_id: str) -> JobRecord:
        """Mark for deletion: from now on `get` raises JobNotFound; a running job is canceled without finalising.
        `purge` removes what is left once no lease lives."""
        ...

    def purge(self, job_id: str) -> None:
        """Remove every key of the job (record, events, progress, deliveries). A tombstone stays."""
        ...

    def bury(self, job_id: str, until: datetime) -> None:
        """Note that the job is deleted: until then `restore` refuses it."""
        ...

    def is_buried(self, job_id: str) -> bool: ...

    def is_whole(self) -> bool:
        """False until lost records are rebuilt; in a new store, until the janitor has found that there are none."""
        ...

    def strays(self) -> Sequence[str]:
        """Jobs of which there are keys but no record. Looks at every key."""
        ...

    def old_tombstones(self, now: datetime) -> Sequence[str]:
        """Deleted jobs whose tombstone has ended."""
        ...

    def remove_tombstone(self, job_id: str) -> None: ...

    def manifest_stored(self, record: JobRecord) -> JobRecord | None:
        """The manifest of `record` is in the object store. A newer record whose manifest is not, if there is one.

        Raises JobNotFound where the job is deleted, so that its manifest must go."""
        ...

    def stale_manifests(self) -> Sequence[JobRecord]:
        """Jobs whose manifest is behind their record."""
        ...

    def unswept(self, limit: int) -> Sequence[JobRecord]:
        """Some ended jobs whose objects nobody has looked through since."""
        ...

    def sweep(self, job_id: str) -> None:
        """Let the objects of this ended job be looked through again."""
        ...

    def swept(self, job_id: str) -> None:
        """Only what is needed is left of the job's objects."""
        ...

    def end_webhooks(self, job_id: str, ended: int) -> JobRecord:
        """The first `ended` webhooks of the job need no further try."""
        ...

    def report_progress(self, job_id: str, progress: StepProgress) -> None:
        """Replace the progress of that lane of the job (not logged, no version). One round trip."""
        ...

    def progress(self, job_id: str, lane: Lane) -> StepProgress | None: ...

    def queue_position(self, job_id: str) -> int | None:
        """1 = next of its model's queued jobs; None once started."""
        ...

    def live_statuses(self, records: Sequence[JobRecord]) -> Sequence[LiveStatus]:
        """Progress and place of each of these jobs, as its status can have them. One round trip for all."""
        ...

    def count_active(self) -> int: ...


@dataclass(frozen=True)
class LogPosition:
    """Up to where one job's log was read, and (opaque) the reports of its lanes."""

    event: str
    reports: str


@dataclass(frozen=True)
class JobUpdates:
    """What happened to one job after a position; `position` is the one to go on from."""

    job_id: str
    events: Sequence[JobEvent]
    progress: Sequence[StepProgress]
    position: LogPosition


class EventLog(Protocol):
    """The append-only logs of jobs. Appending is the store's, inside its transaction.

    An entry that cannot be read is passed over: it must not keep a reader from the rest.
    """

    def read(self, job_id: str, after: str = "0-0", limit: int = 1000) -> Sequence[JobEvent]: ...

    def newest(self, job_ids: Collection[str]) -> Mapping[str, LogPosition]:
        """Where these jobs stand now; "0-0" where there is nothing yet. Does not wait."""
        ...

    def follow(self, positions: Mapping[str, LogPosition], timeout_seconds: float) -> Sequence[JobUpdates]:
        """Block until something happens to one of these jobs after its position, or the time is up.

        `positions` maps job ids. Of a lane's progress only the last report is there."""
        ...

    def stopped(self, job_ids: Collection[str]) -> Sequence[str]:
        """Those of these jobs on which no worker goes on: ended, deleted, unknown, or being cancelled. Cheap."""
        ...


class DeliveryAttempt(Stored):
    """One try to deliver a webhook. `status_code` is None where no answer came."""

    at: datetime
    status_code: int | None
    error: str | None
    duration_seconds: float


class Delivery(Stored):
    """A webhook to deliver: written with the state change it tells of. `id` is the webhook-id header on every try."""

    id: str
    job_id: str
    event_type: EventType
    url: str
    body: str = Field(description="The exact JSON text that is signed and sent.")
    state: Literal["pending", "delivered", "failed", "disabled"] = "pending"
    attempts: tuple[DeliveryAttempt, ...] = ()
    created_at: datetime
    next_attempt_at: datetime | None

    @property
    def order(self) -> tuple[int, datetime]:
        """Its place among the job's deliveries: that of the commit, by the version that it left."""
        version = re.search(r"_(\d+)_[a-z_]+$", self.id)
        return int(version[1]) if version else 0, self.created_at


class Outbox(Protocol):
    """Webhooks waiting to be delivered. Rows are added by the store, inside its transaction."""

    def take_due(self, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        """Deliveries that are due, of each job only the first one that is pending. Each is hidden from other takers for
        `hold_seconds`: those of a sender that is killed come back then. Behind a disabled one the rest is disabled."""
        ...

    def hold(self, deliveries: Sequence[Delivery], seconds: float) -> Sequence[Delivery]:
        """Hide these for so much longer. Those that are still held: of the others somebody else may have taken hold."""
        ...

    def give_back(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        """Let these be taken again in so many seconds, without a try. Those whose hold was lost stay as they are."""
        ...

    def record(self, delivery: Delivery, delay_seconds: float = 0.0) -> int:
        """Store the outcome of an attempt; a pending one is due again in `delay_seconds`, one that has ended lets the
        next of its job be taken. No-op for a purged job, for a delivery that has ended, and for a failed try of one
        that somebody else holds by now. Returns how many of the job have ended before its first pending one."""
        ...

    def of_job(self, job_id: str) -> Sequence[Delivery]: ...


WorkerKind = Literal["both", "generate", "refine", "cpu"]
"""What a worker process does: both generates and refines."""


class WorkerStatus(Stored):
    """What a worker process says of itself every few seconds. `reason` tells why it is not ready."""

    name: str
    kind: WorkerKind
    model: str | None
    state: Literal["starting", "ready", "busy", "not_ready", "draining"]
    reason: str | None = None
    device: str
    pid: int
    cuda_visible_devices: str | None = None
    job_id: str | None = None
    started_at: datetime


class WorkerRegistry(Protocol):
    """Who is there. An entry that is not refreshed disappears."""

    def report(self, status: WorkerStatus, ttl_seconds: float) -> None: ...

    def remove(self, name: str) -> None: ...

    def all(self) -> Sequence[WorkerStatus]: ...


@dataclass(frozen=True)
class StoredObject:
    """What a storage says of an object without giving it."""

    size_bytes: int
    content_type: str


class Storage(Protocol):
    """Objects by key in one bucket. All failures are StorageError; a missing object is ObjectNotFound."""

    def ensure_bucket(self) -> None: ...

    def check(self) -> None:
        """Raise StorageError where the bucket cannot be reached."""
        ...

    def put(self, key: str, data: bytes, content_type: str) -> None: ...

    def put_file(self, key: str, path: Path, content_type: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def pieces(self, key: str) -> Iterator[bytes]:
        """The object's bytes in order, for those too many for memory. An outage may show at any piece."""
        ...

    def look_up(self, key: str) -> StoredObject: ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]: ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete these objects; those that are missing count as deleted."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects under a prefix; returns how many."""
        ...

    def url(self, key: str, *, download_name: str | None = None) -> str:
        """A presigned GET on the public endpoint, valid for at least settings.url_ttl_seconds. Stable: the same text
        for some time, so that ETags and playlists do not change with every call."""
        ...

    def upload_url(self, key: str, headers: Mapping[str, str], ttl_seconds: int) -> str:
        """A presigned PUT on the public endpoint. It takes a request with exactly these `headers` (lower-case names);
        content-type and content-length among them say what and how much may be stored."""
        ...


@dataclass(frozen=True)
class Discarded:
    """The object of a deleted upload, to be removed for the first time or once more."""

    upload_id: str
    late: bool


@dataclass(frozen=True)
class ObjectPart:
    """Bytes `first_byte` to `last_byte` (both included) of an object of `total_bytes`, as they come.

    `is_range` is false where the whole was asked for, or where the server knows no ranges and sent it all the same."""

    first_byte: int
    last_byte: int
    total_bytes: int
    is_range: bool
    pieces: AsyncIterator[bytes]


class ObjectReader(Protocol):
    """Objects for those who wait for them on an event loop: no thread is held while their bytes come."""

    def open(self, key: str, byte_range: str | None) -> AbstractAsyncContextManager[ObjectPart]:
        """The object, or of it the one `byte_range` of RFC 9110, 14.1.2, without the unit: `0-99`, `100-`, `-5`.

        Within two seconds it is known whether there is an answer. Raises ObjectNotFound, RangeNotSatisfiable or another
        StorageError; `pieces` raise StorageUnavailable where the bytes stop coming.
        """
        ...

    async def close(self) -> None: ...


class UploadStore(Protocol):
    """What clients said they would upload. Raises StoreError where the store does not answer."""

    def create(self, upload: Upload) -> None: ...

    def get(self, upload_id: str) -> Upload:
        """Raises UploadNotFound."""
        ...

    def count(self) -> int: ...

    def client_key(self) -> bytes:
        """The secret of media.uploads.client_mark: random, made at its first use, the same for all processes."""
        ...

    def count_of(self, client: str) -> int:
        """Those of one client (media.uploads.client_mark) that can still be used."""
        ...

    def older_than(self, moment: datetime) -> Sequence[Upload]:
        """Uploads that were created before `moment`, oldest first."""
        ...

    def unsent(self, moment: datetime) -> Sequence[Upload]:
        """Uploads whose URL has ended before `moment` and of which it is not known whether their file was sent."""
        ...

    def sent(self, upload_id: str) -> None:
        """The file of this upload is there."""
        ...

    def remove(self, upload_id: str) -> None: ...

    def discard(self, upload_id: str, now: datetime, late: datetime) -> None:
        """Its client has deleted it: from now on it is none. Its object is to go now, and again at `late`, for the URL
        may still take a file. Raises UploadNotFound."""
        ...

    def is_discarded(self, upload_id: str) -> bool:
        """Whether its object is still to go."""
        ...

    def discarded(self, moment: datetime) -> Sequence[Discarded]:
        """Objects that are to go until `moment`."""
        ...

    def forget_discarded(self, discarded: Discarded) -> None: ...


class TaskQueue(Protocol):
    """Wakes workers. A message says that there is something to do; what, the worker asks the store.

    Never raises for a broker that is away: the janitor wakes again whoever is needed.
    """

    def wake(self, lane: Lane, model: str, job_id: str) -> None:
        """Let a worker look for work on this lane. The job is named for workers of an older version only."""
        ...

    def deliver_webhooks(self) -> None: ...

    def janitor(self) -> None: ...
