"""The methods of a job store that apply one transition each, shared by the Redis store and the fake.

Each store implements `_change`: read, change and write a record in one step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta

from core.service.domain import transitions
from core.service.domain.api_keys import KeyLimits
from core.service.domain.ports import Clock, Lease, Results, Steered
from core.service.domain.schema import (
    ChunkRecord,
    JobChange,
    JobError,
    JobExtension,
    JobRecord,
    JobWarning,
    Measurement,
    PreparedMedia,
)
from core.service.domain.transitions import Transition


class TransitionStore(ABC):
    """Part of ports.JobStore. Ended jobs expire after `retention_seconds`."""

    def __init__(self, clock: Clock, retention_seconds: float) -> None:
        self._clock = clock
        self._retention = timedelta(seconds=retention_seconds)

    @abstractmethod
    def _change(
        self, job_id: str, change: Callable[[JobRecord], Transition], limits: KeyLimits | None = None
    ) -> JobRecord:
        """Apply a transition to a job's record in one step. Returns the new record. Raises JobNotFound, and
        LimitReached if the job's owner has these limits and may not make the change."""

    def commit_chunk(self, lease: Lease, chunk: ChunkRecord, fingerprint: str) -> JobRecord:
        now = self._clock.now()
        return self._change(
            lease.job_id, lambda record: transitions.commit_chunk(record, lease, chunk, fingerprint, now)
        )

    def commit_refined(
        self,
        lease: Lease,
        done: int,
        chunks: tuple[ChunkRecord, ...],
        fingerprint: str,
        state_sha256: str | None = None,
    ) -> JobRecord:
        now = self._clock.now()
        return self._change(
            lease.job_id,
            lambda record: transitions.commit_refined(record, lease, done, chunks, fingerprint, now, state_sha256),
        )

    def commit_prepare(self, lease: Lease, prepared: PreparedMedia, warnings: tuple[JobWarning, ...] = ()) -> JobRecord:
        return self._change(lease.job_id, lambda record: transitions.commit_prepare(record, lease, prepared, warnings))

    def commit_copies(self, lease: Lease, chunks: Sequence[ChunkRecord]) -> JobRecord:
        now = self._clock.now()
        return self._change(lease.job_id, lambda record: transitions.commit_copies(record, lease, chunks, now))

    def repair(
        self, lease: Lease, chunks: tuple[int, ...], *, refine_from: int | None = None, media: bool = False
    ) -> JobRecord:
        return self._change(
            lease.job_id,
            lambda record: transitions.repair(record, lease, chunks, refine_from=refine_from, media=media),
        )

    def commit_repair(self, lease: Lease, chunk: ChunkRecord) -> JobRecord:
        return self._change(lease.job_id, lambda record: transitions.commit_repair(record, lease, chunk))

    def end_webhooks(self, job_id: str, ended: int) -> JobRecord:
        return self._change(job_id, lambda record: transitions.end_webhooks(record, ended))

    def begin_finalizing(self, job_id: str) -> JobRecord:
        return self._change(job_id, transitions.begin_finalizing)

    def finish(self, lease: Lease, results: Results) -> JobRecord:
        now = self._clock.now()
        return self._change(
            lease.job_id,
            lambda record: transitions.finish(record, lease, results=results, at=now, retention=self._retention),
        )

    def fail(self, job_id: str, error: JobError) -> JobRecord:
        now = self._clock.now()
        return self._change(job_id, lambda record: transitions.fail(record, error, now, self._retention))

    def request_cancel(self, job_id: str) -> JobRecord:
        now = self._clock.now()
        return self._change(job_id, lambda record: transitions.request_cancel(record, now, self._retention))

    def steer(
        self, job_id: str, change: JobChange, endless_limit: int | None = None, limits: KeyLimits | None = None
    ) -> Steered:
        now, acts_from_frame = self._clock.now(), None

        def steered(record: JobRecord) -> Transition:
            nonlocal acts_from_frame
            transition, acts_from_frame = transitions.steer(record, change, now, endless_limit)
            return transition

        record = self._change(job_id, steered, limits)
        return Steered(record, acts_from_frame)

    def retry(self, job_id: str, limits: KeyLimits | None = None) -> JobRecord:
        now = self._clock.now()
        return self._change(job_id, lambda record: transitions.retry(record, now), limits)

    def extend(self, job_id: str, extension: JobExtension, limits: KeyLimits | None = None) -> JobRecord:
        now = self._clock.now()
        return self._change(job_id, lambda record: transitions.extend(record, extension, now), limits)

    def ask_measuring(self, job_id: str, instead_of: Measurement | None = None) -> JobRecord:
        now = self._clock.now()
        return self._change(job_id, lambda record: transitions.ask_measuring(record, now, instead_of))

    def commit_measurement(self, lease: Lease) -> JobRecord:
        now = self._clock.now()
        return self._change(lease.job_id, lambda record: transitions.commit_measurement(record, lease, now))

    def give_up_measuring(self, job_id: str, generation: int, error: JobError) -> JobRecord:
        now = self._clock.now()
        return self._change(job_id, lambda record: transitions.give_up_measuring(record, generation, error, now))

    def revoke_links(self, job_id: str, secret: str) -> JobRecord:
        return self._change(job_id, lambda record: transitions.revoke_links(record, secret))

    def request_delete(self, job_id: str) -> JobRecord:
        now = self._clock.now()
        return self._change(job_id, lambda record: transitions.request_delete(record, now, self._retention))
