"""The job store port: records, leases, queues, progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from core.service.domain.schema import (
    ChunkRecord,
    JobError,
    JobRecord,
    JobStatus,
    JobWarning,
    Lane,
    PreparedMedia,
    StepProgress,
)


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
class QueuedWork:
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

    def begin_create(self, job_id: str) -> None:
        """Note that this job's manifest is about to be stored; `create` ends that."""
        ...

    def unfinished_creates(self, moment: datetime) -> Sequence[str]:
        """Jobs announced before `moment` that were not created."""
        ...

    def forget_create(self, job_id: str) -> None: ...

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

    def abandoned_cancels(self) -> Sequence[JobRecord]:
        """Jobs that are being cancelled and that no live lease holds: nobody is left to wind them up."""
        ...

    def queued_work(self) -> Sequence[QueuedWork]:
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

    def reindex(self) -> int:
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

    def release_of_worker(self, worker: str) -> Lease | None:
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

    def add_tombstone(self, job_id: str, until: datetime) -> None:
        """Note that the job is deleted: until then `restore` refuses it."""
        ...

    def has_tombstone(self, job_id: str) -> bool: ...

    def has_all_records(self) -> bool:
        """False until lost records are rebuilt; in a new store, until the janitor has found that there are none."""
        ...

    def orphaned_job_ids(self) -> Sequence[str]:
        """Jobs of which there are keys but no record. Looks at every key."""
        ...

    def expired_tombstones(self, now: datetime) -> Sequence[str]:
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

    def cleanup_pending(self, limit: int) -> Sequence[JobRecord]:
        """Some ended jobs whose objects nobody has looked through since."""
        ...

    def request_cleanup(self, job_id: str) -> None:
        """Let the objects of this ended job be looked through again."""
        ...

    def cleanup_done(self, job_id: str) -> None:
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
