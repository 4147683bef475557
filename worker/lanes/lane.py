"""One task does one piece of work: claim the best piece over the lanes of the process, keep the lease, make the piece,
commit it. A task may keep the generate lane for further pieces of the job.

A piece is what one lane commits at a time: a chunk (generate.py), a refinement piece (refine.py), the input media
(prepare.py), the final video (finalize.py). LaneWorker holds what they share: the claim and every outcome. A crash
costs what is not committed: this piece, and one that was made ahead. Nothing is visible before the commit, and a piece
made again has the same bytes. Failing servers are waited for, with the finished piece in memory; only errors that the
work itself raises count as attempts.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import ClassVar

from core.disk_errors import is_disk_error
from core.service.domain.errors import (
    Interrupted,
    JobNotFound,
    LongtakeError,
    NotFinite,
    StaleLease,
    StorageError,
    StoreError,
)
from core.service.domain.ports import Lease, PauseTarget
from core.service.domain.schema import JobError, JobRecord, Lane
from core.service.logs import working_on
from core.service.request_ids import working_for
from core.service.tracing import span
from worker import metrics
from worker.lanes.completion import (
    fail_job,
    job_error,
    media_lost_error,
    poison_error,
    remove_deleted_objects,
    request_cleanup,
    wake,
    wake_another,
    write_manifest,
)
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.outcomes import Damaged, Outcome
from worker.lanes.server_access import ServerAccess, ignore_store_errors
from worker.runtime.services import Activity, NoActivity, Services

PAUSED_SECONDS = 1.0
"""A paused worker lets a message wait so long for another worker."""

logger = logging.getLogger(__name__)


class LaneWorker(ServerAccess, ABC):
    """Works on one lane of one model's jobs ("" for lanes without a model)."""

    lane: ClassVar[Lane]
    has_phases: ClassVar[bool] = False
    """Whether the lane records spans of its pieces itself (chunk_lane.py)."""
    can_kill_workers: ClassVar[bool] = True
    """Whether a piece can kill its worker, so that repeated deaths fail the job."""
    failure_code: ClassVar[str] = "engine_error"
    """Error code of a job that failed with an exception which is not a LongtakeError."""

    def __init__(self, services: Services, model: str, activity: Activity | None = None) -> None:
        super().__init__(services, activity)
        self._model = model

    @abstractmethod
    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        """Make the lane's next piece; returns the record after its commit. If the lane is held in it, this worker keeps
        it for the next piece."""

    @abstractmethod
    def _next_piece(self, record: JobRecord) -> str:
        """The lane's next piece for messages, such as "chunk 3"."""

    def _chunk_of(self, record: JobRecord) -> int | None:
        """Index of the chunk of the lane's next piece, for log lines; None if it is of no single one."""
        del record

    @abstractmethod
    def _after_commit(self, record: JobRecord) -> None:
        """After the commit: wake the workers that have work now. Called here unless the lane is kept."""

    def _forget(self, job_id: str) -> None:
        """Drop what is cached for a job, because its next piece may start from something else."""
        del job_id

    def own(self) -> frozenset[tuple[str, Lane]]:
        """Jobs, with the lane, that this process can go on with at no cost: it has their state."""
        return frozenset()

    def work(self) -> Outcome:
        """`LaneWorkers.work` of this lane alone."""
        return LaneWorkers([self], self._services, self._model, self._activity).work()

    def do(self, lease: Lease) -> Outcome:
        """Make the piece that `lease` was claimed for, and those for which the worker keeps the lane.

        Raises what the work raised, after the attempt is recorded, and StoreError if the lease cannot be released.
        """
        with LeaseKeeper(self._services.store, lease, self._services.settings.lease_ttl_seconds) as keeper:
            return self._under_lease(lease, keeper)

    def _under_lease(self, lease: Lease, keeper: LeaseKeeper) -> Outcome:
        with working_on(lease.job_id), ExitStack() as log_lines:
            try:
                record = self._with_retries(lambda: self._services.store.get(lease.job_id), keeper)
                keeper.request_id = record.request_id
                log_lines.enter_context(working_for(record.request_id))
                if lease.poison and self.can_kill_workers:
                    return self._poisoned(record)
                return self._make_pieces(record, keeper)
            except (Interrupted, JobNotFound) as reason:
                return self._interrupted(keeper.lease, keeper, reason)

    def _make_pieces(self, record: JobRecord, keeper: LeaseKeeper) -> Outcome:
        """One piece, and those for which the worker keeps the lane."""
        while True:
            with working_on(record.id, self._chunk_of(record)):
                made = self._make_piece(record, keeper.lease, keeper)
            if isinstance(made, Outcome):
                return made
            record = made
            if not record.lane(self.lane).held:
                self._after_commit(record)
                return Outcome.COMMITTED

    def _make_piece(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord | Outcome:
        """The record after the commit, or how the task ends without one."""
        try:
            with self._span(record):
                return self._make_and_commit(record, lease, keeper)
        except (Interrupted, JobNotFound):
            raise
        except StaleLease as reason:
            return self._overtaken(lease, reason)
        except Damaged as damage:
            return self._repair(lease, damage, keeper)
        except Exception as error:  # the task's boundary: record the attempt, then let the error through
            return self._failed(record, lease, error, keeper)

    def _span(self, record: JobRecord) -> AbstractContextManager[object]:
        """Around a piece, unless the lane records its spans or the job has no trace."""
        if record.trace is None or self.has_phases:
            return nullcontext()
        return span(self.lane, record.trace, {"longtake.job": record.id})

    def _overtaken(self, lease: Lease, reason: StaleLease) -> Outcome:
        """The commit or repair was refused: another worker has claimed the lane, or the job has moved on."""
        metrics.commit_refused(self.lane)
        logger.warning("%s: %s", lease.job_id, reason)
        request_cleanup(self._services, lease.job_id)
        self._services.store.release(lease, count_attempt=False)  # the lease may be ours, and the job have moved on
        return Outcome.DROPPED

    def _repair(self, lease: Lease, damage: Damaged, keeper: LeaseKeeper) -> Outcome:
        """Damaged objects are made again before the job continues."""
        logger.warning("%s: %s", lease.job_id, damage)
        self._forget(lease.job_id)
        store = self._services.store
        try:
            record = self._with_retries(
                lambda: store.repair(lease, damage.chunks, refine_from=damage.refine_from, media=damage.media), keeper
            )
        except StaleLease as reason:
            return self._overtaken(lease, reason)
        if record.media_repairs > self._services.settings.max_attempts:
            self._give_up(record, media_lost_error(record.media_repairs))
            return Outcome.FAILED
        write_manifest(self._services, record)
        wake(self._services, record)
        return Outcome.INTERRUPTED

    def _interrupted(self, lease: Lease, keeper: LeaseKeeper, reason: LongtakeError) -> Outcome:
        """Cancel, deletion, drain or a lost lease: release the lane without counting an attempt."""
        services, job_id = self._services, lease.job_id
        logger.info("%s: %s", job_id, reason)
        if keeper.lost.is_set():
            self._count_lost_lease(job_id)
            request_cleanup(services, job_id)
            return Outcome.INTERRUPTED
        services.store.release(lease, count_attempt=False)
        try:
            record = services.store.get(job_id)
        except JobNotFound:
            self._forget(job_id)
            remove_deleted_objects(services, job_id)
            services.queue.janitor()
        else:
            request_cleanup(services, job_id)
            wake(services, record)
        return Outcome.INTERRUPTED

    def _count_lost_lease(self, job_id: str) -> None:
        """Not if the job is deleted: then no other worker does the work again."""
        with ignore_store_errors(job_id), suppress(JobNotFound):
            self._services.store.get(job_id)
            metrics.lease_lost(self.lane)

    def _failed(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> Outcome:
        """Raises `error` unless it was expected: a server's, the disk's, or one that every try would end with."""
        if isinstance(error, StorageError | StoreError):
            logger.warning("%s: %s", record.id, error.message)
            return self._retry_later(lease)
        if is_disk_error(error):
            logger.error("%s: this worker's disk failed: %r", record.id, error)
            return self._retry_later(lease)
        if isinstance(error, NotFinite):
            return self._fail_job(record, lease, error)
        self._count_attempt(record, lease, error, keeper)
        raise error

    def _retry_later(self, lease: Lease) -> Outcome:
        """Not the job's fault: released until after a pause, without counting an attempt."""
        self._services.store.release(lease, count_attempt=False, rest_seconds=self._rest_seconds(0))
        return Outcome.INTERRUPTED

    def _fail_job(self, record: JobRecord, lease: Lease, error: LongtakeError) -> Outcome:
        """Fail the job now: another try would end the same way."""
        self._forget(record.id)
        self._services.store.release(lease, count_attempt=True)
        reason = JobError(code=error.code, message=error.public_message, retryable=False, fix=error.public_fix)
        self._give_up(record, reason)
        return Outcome.FAILED

    def _give_up(self, record: JobRecord, reason: JobError) -> None:
        """The lane's work cannot be done: the job fails."""
        fail_job(self._services, record.id, reason, self.lane)

    def _count_attempt(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> None:
        """Count an attempt. The lane rests for a time that doubles with each; the last one fails the job."""
        metrics.attempt_failed(self.lane)
        self._forget(record.id)
        store, attempts = self._services.store, record.lane(self.lane).attempts + 1
        rest = self._rest_seconds(attempts)
        self._with_retries(lambda: store.release(lease, count_attempt=True, rest_seconds=rest), keeper)
        piece = self._next_piece(record)
        logger.error("%s: attempt %d at %s failed: %r", record.id, attempts, piece, error)
        if attempts >= self._services.settings.max_attempts:
            self._give_up(record, job_error(error, f"{piece} failed {attempts} times", self.failure_code))

    def _rest_seconds(self, attempts: int) -> float:
        return self._services.settings.janitor_interval_seconds * 2**attempts

    def _poisoned(self, record: JobRecord) -> Outcome:
        """Too many workers died while they made this piece."""
        deaths, piece = record.lane(self.lane).deaths, self._next_piece(record)
        self._give_up(record, poison_error(f"{deaths} workers in a row died while making {piece}"))
        return Outcome.FAILED


class LaneWorkers:
    """All that one process can do for one model, one call of `work` per task."""

    def __init__(
        self, workers: Sequence[LaneWorker], services: Services, model: str, activity: Activity | None = None
    ) -> None:
        """`workers`: one for each lane that the process serves."""
        self._workers = {worker.lane: worker for worker in workers}
        self._services = services
        self._model = model
        self._activity = activity or NoActivity()

    def work(self) -> Outcome:
        """Make the piece that is most urgent over all lanes, whatever message woke the process. Raises what the work
        raised, after the attempt is recorded."""
        services, lanes = self._services, tuple(self._workers)
        try:
            if services.drain.is_set():
                wake_another(services, lanes, self._model)
                return Outcome.INTERRUPTED
            paused = services.pauses.of(self._model, services.worker)
            if paused is not None:
                return self._leave_paused(paused)
            own = frozenset[tuple[str, Lane]]().union(*(worker.own() for worker in self._workers.values()))
            ttl = services.settings.lease_ttl_seconds
            lease = services.store.claim_next(lanes, self._model, services.worker, ttl, own)
            if lease is None:
                return Outcome.DROPPED
            self._activity.busy(lease.job_id)
            wake_another(services, lanes, self._model)
            return self._workers[lease.lane].do(lease)
        except StoreError as error:
            logger.warning("the store fails; the janitor wakes a worker later: %s", error.message)
            return Outcome.DROPPED
        finally:
            self._activity.idle()

    def _leave_paused(self, paused: PauseTarget) -> Outcome:
        """The message is used up. Workers are woken again when the pause ends; if it holds this worker only, another
        one is to have the message, and is given the time to take it."""
        services = self._services
        if paused.worker is not None:
            services.drain.wait(PAUSED_SECONDS)
            wake_another(services, tuple(self._workers), self._model)
        return Outcome.DROPPED
