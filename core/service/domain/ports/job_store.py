"""The job store port: records, queues, leases, commits, cleanup."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from core.service.domain.api_keys import KeyLimits
from core.service.domain.manifest import ChunkPage
from core.service.domain.ports.job_reads import JobReads
from core.service.domain.ports.job_values import Lease, QueuedWork, Results, Steered
from core.service.domain.ports.work_reads import WorkReads
from core.service.domain.scheduling import Entry, Key
from core.service.domain.schema import (
    ChunkLists,
    ChunkRecord,
    JobChange,
    JobError,
    JobExtension,
    JobRecord,
    JobWarning,
    Lane,
    Measurement,
    PreparedMedia,
    StepProgress,
    Variant,
)


class JobStore(JobReads, WorkReads, Protocol):
    """Records, leases, progress. A change of a record, its event and its webhook deliveries are one transaction.

    Methods that return a record, a lease or a position raise JobNotFound if the job does not exist or was deleted; the
    others do nothing then, so that a worker can always release. All raise StoreError if the store does not answer.
    A change that is repeated because its answer was lost is applied once.
    """

    def ping(self) -> None: ...

    def begin_create(self, job_id: str) -> None:
        """Record that this job's manifest is about to be stored; `create` completes it."""
        ...

    def unfinished_creates(self, moment: datetime) -> Sequence[str]:
        """Jobs whose `begin_create` was before `moment` and that `create` has not completed."""
        ...

    def forget_create(self, job_id: str) -> None: ...

    def create(self, record: JobRecord, limits: KeyLimits | None = None) -> JobRecord:
        """Store a queued job with its job.queued event. Raises LimitReached if its owner has these limits and may have
        no such job now."""
        ...

    def restore(self, record: JobRecord, lists: ChunkLists) -> bool:
        """Store a record rebuilt from a manifest, and its chunks. False if a record exists already (it is never
        overwritten)."""
        ...

    def get(self, job_id: str) -> JobRecord: ...

    def chunks(self, job_id: str, variant: Variant, start: int = 0, stop: int | None = None) -> Sequence[ChunkRecord]:
        """Committed chunks from index `start` up to `stop` (None: all later ones), in order; fewer if they do not exist
        yet. Also of a job that is marked for deletion. One round trip."""
        ...

    def active(self) -> Sequence[JobRecord]:
        """All jobs that have not ended, oldest first, and ended jobs whose deletion is pending."""
        ...

    def expired(self, now: datetime) -> Sequence[JobRecord]:
        """Ended jobs whose expires_at has passed."""
        ...

    def deleted(self) -> Sequence[JobRecord]:
        """Jobs marked for deletion that `purge` has not removed yet."""
        ...

    def abandoned_cancels(self) -> Sequence[JobRecord]:
        """Canceling jobs without a live lease: no worker is left to end them."""
        ...

    def queued_work(self) -> Sequence[QueuedWork]:
        """The next job of every queue that has work without a worker. Reads only queues and jobs in work."""
        ...

    def free_work(self, lanes: Sequence[Lane], model: str) -> Mapping[Lane, str]:
        """Those of these lanes that have a job which can be claimed, each with one such job, not always the next: for
        waking workers. The lanes are served by the same workers. One round trip."""
        ...

    def ready(self, lane: Lane, model: str, limit: int) -> Sequence[str]:
        """At most `limit` jobs that `claim_next` would claim now, in its order."""
        ...

    def count_prepared(self, model: str, limit: int) -> int:
        """Number of queued jobs of a model whose input media are ready, at most `limit`."""
        ...

    def reindex(self) -> int:
        """Add jobs written by an older version to the queues, and count again what another version has changed there.
        Returns how many were added. Costs as much as is wrong there."""
        ...

    def claim_next(
        self, lanes: Sequence[Lane], model: str, worker: str, ttl_seconds: float, own: Collection[Key] = ()
    ) -> Lease | None:
        """Claim the next job on any of these lanes, which are served by the same workers; see scheduling.choose. `own`:
        what this worker holds the state of. None if there is no work."""
        ...

    def is_next(self, entry: Entry, lanes: Sequence[Lane], model: str) -> bool:
        """Whether `entry`, if it were free now, would be claimed by a worker that holds its state."""
        ...

    def claim(self, job_id: str, lane: Lane, worker: str, ttl_seconds: float) -> Lease | None:
        """Claim the lane. None if a live lease holds it, it pauses, or it has no work now (prepare: queued or running,
        input media not ready; generate: queued or running, input media ready; refine: running, its frames generated;
        finalize: finalizing). Increments the fencing token. The first claim of generate moves queued -> running with
        job.started."""
        ...

    def renew(self, lease: Lease, ttl_seconds: float) -> bool:
        """Extend the lease, even an expired one if nobody else has claimed the lane. False if it is lost."""
        ...

    def release(self, lease: Lease, *, count_attempt: bool, rest_seconds: float = 0.0) -> None:
        """Release the lane without a commit; it cannot be claimed for `rest_seconds`. `count_attempt`: the engine
        failed. Idempotent."""
        ...

    def release_of_worker(self, worker: str) -> Lease | None:
        """Release the lane of a worker that died. Returns its lease, None if it held none. Idempotent."""
        ...

    def lease_alive(self, job_id: str, lane: Lane) -> bool: ...

    def commit_chunk(self, lease: Lease, chunk: ChunkRecord, fingerprint: str) -> JobRecord:
        """Append the next chunk, count it in `version`, log chunk.completed, clear progress, release the lease.

        After the last frame, and its refinement if requested, the status becomes finalizing. Raises StaleLease if the
        token is old or chunk.index is not the next.
        """
        ...

    def commit_and_claim(self, lease: Lease, chunk: ChunkRecord, fingerprint: str, ttl_seconds: float) -> JobRecord:
        """`commit_chunk`, and the worker of `lease` keeps the lane in the same step if the job has more work on it:
        then the lane is held in the record that is returned, under the next token."""
        ...

    def commit_refined(
        self,
        lease: Lease,
        done: int,
        chunks: tuple[ChunkRecord, ...],
        fingerprint: str,
        state_sha256: str | None = None,
    ) -> JobRecord:
        """Commit a refinement piece: `done` pieces are committed with it. It publishes `chunks` (chunk.refined each)
        and may leave a state with checksum `state_sha256`. Raises StaleLease as `commit_chunk`."""
        ...

    def commit_prepare(self, lease: Lease, prepared: PreparedMedia, warnings: tuple[JobWarning, ...] = ()) -> JobRecord:
        """The input media are prepared; the job can be generated now. Releases the lease."""
        ...

    def commit_copies(self, lease: Lease, chunks: Sequence[ChunkRecord]) -> JobRecord:
        """A branch has its own copies of the chunks that it shares; it can be generated now. Releases the lease."""
        ...

    def repair(
        self, lease: Lease, chunks: tuple[int, ...], *, refine_from: int | None = None, media: bool = False
    ) -> JobRecord:
        """Release the lane because objects are damaged or missing: those of `chunks`, the refiner's states after piece
        `refine_from`, or the prepared input media (`media`). They are produced again before anything else."""
        ...

    def commit_repair(self, lease: Lease, chunk: ChunkRecord) -> JobRecord:
        """Commit a damaged chunk that was generated again with all its objects."""
        ...

    def begin_finalizing(self, job_id: str) -> JobRecord:
        """running | canceling -> finalizing (a canceled job keeps cancel_requested). Idempotent.

        Raises JobStateConflict if frames are missing and no cancel was requested."""
        ...

    def finish(self, lease: Lease, results: Results) -> JobRecord:
        """finalizing -> succeeded, or canceled if a cancel was requested. Logs the event. Releases the lease."""
        ...

    def fail(self, job_id: str, error: JobError) -> JobRecord:
        """Any non-terminal status -> failed, with job.failed. A terminal job is returned as it is."""
        ...

    def request_cancel(self, job_id: str) -> JobRecord:
        """queued -> canceled at once; running -> canceling. Idempotent while canceling/canceled.

        Raises JobStateConflict if the job has succeeded, failed or expired, or is finalizing."""
        ...

    def steer(
        self, job_id: str, change: JobChange, endless_limit: int | None = None, limits: KeyLimits | None = None
    ) -> Steered:
        """Change the prompt (with job.prompt_changed), the length, the metadata and the priority of a queued or running
        job. One that has no end any more ends at `endless_limit` frames.

        Raises JobStateConflict, InvalidField, LimitReached; see transitions.steer, and `create` for `limits`."""
        ...

    def retry(self, job_id: str, limits: KeyLimits | None = None) -> JobRecord:
        """Queue a failed or canceled job again, as its next generation. Raises JobStateConflict, LimitReached; see
        transitions.retry, and `create` for `limits`."""
        ...

    def extend(self, job_id: str, extension: JobExtension, limits: KeyLimits | None = None) -> JobRecord:
        """Queue a succeeded or canceled job again, with more frames. Raises JobStateConflict, FieldNotSupported,
        LimitReached; see transitions.extend, and `create` for `limits`."""
        ...

    def ask_measuring(self, job_id: str, instead_of: Measurement | None = None) -> JobRecord:
        """Have the video measured once the job has ended, also if a worker of an older version has ended it.
        `instead_of`: the measurement that is to be made anew. Raises JobStateConflict; see transitions.ask_measuring.
        """
        ...

    def commit_measurement(self, lease: Lease) -> JobRecord:
        """The metrics of the video are stored. Logs job.measured. Releases the lease."""
        ...

    def give_up_measuring(self, job_id: str, generation: int, error: JobError) -> JobRecord:
        """The video of this generation cannot be measured. Logs job.measured with the error. The job stays as it is."""
        ...

    def cancel_requested(self, job_id: str) -> bool:
        """Whether workers must stop working on the job; True also if it ended, was deleted or is missing. One round
        trip."""
        ...

    def revoke_links(self, job_id: str, secret: str) -> JobRecord:
        """Give the job a new `link_secret`."""
        ...

    def request_delete(self, job_id: str) -> JobRecord:
        """Mark for deletion: from now on `get` raises JobNotFound. A running job is canceled without finalizing.
        `purge` removes its keys once it has no live lease."""
        ...

    def purge(self, job_id: str) -> None:
        """Remove every key of the job (record, events, progress, deliveries). A tombstone stays."""
        ...

    def add_tombstone(self, job_id: str, until: datetime) -> None:
        """Record until `until` that the job was deleted: `restore` refuses it."""
        ...

    def has_tombstone(self, job_id: str) -> bool: ...

    def has_all_records(self) -> bool:
        """False until the janitor has rebuilt lost records, or has found in a new store that there are none."""
        ...

    def orphaned_job_ids(self) -> Sequence[str]:
        """Jobs with keys but without a record. Scans all keys."""
        ...

    def expired_tombstones(self, now: datetime) -> Sequence[str]:
        """Deleted jobs whose tombstone has expired."""
        ...

    def remove_tombstone(self, job_id: str) -> None: ...

    def manifest_stored(self, record: JobRecord) -> JobRecord | None:
        """Record that the manifest of `record`, and its stale pages, are in the object store. Returns the newest record
        if its manifest is still to be written, else None: also an older one, rebuilt after Redis was lost. Raises
        JobNotFound if the job was deleted: then its manifest must go."""
        ...

    def stale_pages(self, job_id: str) -> Sequence[ChunkPage]:
        """Whole pages of chunk records that are not in the object store as they are in the lists."""
        ...

    def stale_manifests(self) -> Sequence[JobRecord]:
        """Jobs whose manifest is behind their record."""
        ...

    def cleanup_pending(self, limit: int) -> Sequence[JobRecord]:
        """At most `limit` ended jobs whose objects are to be cleaned up."""
        ...

    def request_cleanup(self, job_id: str) -> None:
        """Schedule another cleanup of this ended job's objects."""
        ...

    def cleanup_done(self, job_id: str) -> None:
        """Record that only needed objects of the job are left."""
        ...

    def end_webhooks(self, job_id: str, ended: int) -> JobRecord:
        """Record that the first `ended` webhooks of the job need no further attempt."""
        ...

    def report_progress(self, job_id: str, progress: StepProgress) -> bool:
        """Replace the progress of one lane (not logged, `version` unchanged). Returns `cancel_requested`. One round
        trip for both."""
        ...
