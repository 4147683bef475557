"""One task, one piece of work on one lane: claim the job that comes next, keep the lease, make and commit, pass it on.

What a piece is belongs to the lane: generate.py makes chunks, refine.py refines them. Here is what both do alike, every
way out included. Knows no Celery, no Redis, no S3, no torch. A crash between any two lines costs at most this piece:
until the commit nothing is visible, and whoever makes the piece again makes the same bytes. Servers that fail are
waited for, with the finished piece in hand; only what the engine raises counts against a job.
"""

from __future__ import annotations

import hashlib
import logging
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import ClassVar, Generic, TypeVar

from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import (
    Interrupted,
    JobNotFound,
    LongtakeError,
    NotFinite,
    ObjectNotFound,
    StaleLease,
    StorageError,
    StoreError,
)
from core.service.domain.frame_plan import ChunkSpan
from core.service.domain.ports import Lease
from core.service.domain.refine_plan import spans_of
from core.service.domain.schema import ChunkRecord, JobError, JobRecord, Lane, StepProgress, WebhookEvent
from core.service.video.segments import EncodedChunk, encode_chunk
from worker.lanes.completion import (
    fail_job,
    job_error,
    media_lost_error,
    poison_error,
    remove_deleted_objects,
    sweep_again,
    wake,
    wake_another,
    wants_webhook,
    write_manifest,
)
from worker.lanes.lease_keeper import LeaseKeeper
from worker.runtime.disk_errors import is_disk_trouble
from worker.runtime.server_retry import Pause, ServerCall, patiently
from worker.runtime.services import Activity, NoActivity, Services
from worker.runtime.stopwatch import Stopwatch

logger = logging.getLogger(__name__)

CHUNK_TYPE = "video/mp4"
STATE_TYPE = "application/octet-stream"
CANCEL_CHECK_SECONDS = 1.0
"""Pause between two looks for a cancel while there are no steps."""

State = TypeVar("State")
T = TypeVar("T")


class Outcome(StrEnum):
    """How a task ended."""

    COMMITTED = "committed"
    DROPPED = "dropped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class NewObject:
    """An object to be stored."""

    key: str
    data: bytes
    content_type: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Remembered(Generic[State]):
    """What this process knows of the piece it committed last for a job, under which fencing token."""

    token: int
    state: State
    commit_seconds: float


class Damaged(Exception):
    """Objects of the job are not what was stored: these chunks, or refinement after a piece, must be made again."""

    def __init__(self, chunks: tuple[int, ...] = (), refine_from: int | None = None, *, media: bool = False) -> None:
        super().__init__(f"damaged: chunks {list(chunks)}, refinement from piece {refine_from}, media {media}")
        self.chunks = chunks
        self.refine_from = refine_from
        self.media = media


class LaneWorker(ABC, Generic[State]):
    """Works on one lane of one model's jobs, one call per task. `State` goes from one piece to the next."""

    lane: ClassVar[Lane]
    commit_event: ClassVar[WebhookEvent]
    states_remembered: ClassVar[int]
    """Newest states kept in memory, so that a worker that goes on with a job need not fetch what it has just put."""
    ends_workers: ClassVar[bool] = True
    """Whether a piece may be what its workers die of."""
    failure_code: ClassVar[str] = "engine_error"
    """Of a job that fails for an error which is none of ours."""

    def __init__(self, services: Services, model: str, activity: Activity | None = None) -> None:
        self._services = services
        self._model = model
        self._activity = activity or NoActivity()
        self._remembered: OrderedDict[str, Remembered[State]] = OrderedDict()

    @abstractmethod
    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        """The next piece of the lane; the record after its commit."""

    @abstractmethod
    def _next_piece(self, record: JobRecord) -> str:
        """The lane's next piece in words, as in "chunk 3"."""

    def work(self) -> Outcome:
        """One piece of the job that comes next, or nothing where none waits.

        Raises what the engine raised, after the try is recorded.
        """
        services = self._services
        try:
            if services.drain.is_set():
                wake_another(services, self.lane, self._model)
                return Outcome.INTERRUPTED
            ttl = services.settings.lease_ttl_seconds
            lease = services.store.claim_next(self.lane, self._model, services.worker, ttl)
            if lease is None:
                return Outcome.DROPPED
            self._activity.busy(lease.job_id)
            wake_another(services, self.lane, self._model)
            return self.do(lease)
        except StoreError as error:
            logger.warning("the store fails, the janitor wakes a worker later: %s", error.message)
            return Outcome.DROPPED
        finally:
            self._activity.idle()

    def do(self, lease: Lease) -> Outcome:
        """The piece that was claimed with `lease`. Raises what the engine raised, after the try is recorded, and
        StoreError where it cannot even be given back."""
        with LeaseKeeper(self._services.store, lease, self._services.settings.lease_ttl_seconds) as keeper:
            return self._under_lease(lease, keeper)

    def _under_lease(self, lease: Lease, keeper: LeaseKeeper) -> Outcome:
        try:
            record = self._patiently(lambda: self._services.store.get(lease.job_id), keeper)
            if lease.poison and self.ends_workers:
                return self._poisoned(record)
            return self._one_piece(record, lease, keeper)
        except (Interrupted, JobNotFound) as reason:
            return self._interrupted(lease, keeper, reason)

    def _one_piece(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> Outcome:
        try:
            committed = self._make_and_commit(record, lease, keeper)
        except (Interrupted, JobNotFound):
            raise
        except StaleLease as reason:
            logger.warning("%s: %s", record.id, reason)
            sweep_again(self._services, record.id)
            self._services.store.release(lease, count_attempt=False)  # it may be the job that has moved on
            return Outcome.DROPPED
        except Damaged as damage:
            return self._repair(lease, damage, keeper)
        except Exception as error:  # the task's boundary: record the try, let the error through
            return self._failed(record, lease, error, keeper)
        self._pass_on(committed)
        return Outcome.COMMITTED

    def _waited(self, record: JobRecord, since: datetime) -> dict[str, float]:
        """Seconds from `since` (when this piece could have begun) to this claim: `commit`, where this process did the
        one before and so knows how long it took, and `queue`, the rest."""
        waited = max(0.0, (self._services.clock.now() - since).total_seconds())
        remembered = self._remembered_of(record)
        commit = min(waited, remembered.commit_seconds) if remembered else 0.0
        return {"queue": waited - commit, "commit": commit}

    def _on_step(self, job_id: str, chunk_index: int, keeper: LeaseKeeper) -> Callable[[int, int], None]:
        services = self._services

        def on_step(step: int, steps: int) -> None:
            self._activity.beat()
            self._check_stop(keeper)
            progress = StepProgress(
                lane=self.lane, chunk_index=chunk_index, step=step, steps=steps, at=services.clock.now()
            )
            with store_may_pause(job_id):
                services.store.report_progress(job_id, progress)
                self._check_cancel(job_id)

        return on_step

    def _check_cancel(self, job_id: str) -> None:
        if self._services.store.cancel_requested(job_id):
            raise Interrupted(f"{job_id} was canceled")

    def _check_stop(self, keeper: LeaseKeeper) -> None:
        keeper.check()
        if self._services.drain.is_set():
            raise Interrupted(f"{self._services.worker} is stopping")

    def _check_often(self, keeper: LeaseKeeper) -> Callable[[], None]:
        """For whoever waits for something that may hang and can look often: asks the store for a cancel only now and
        then."""
        asked_at = time.monotonic()

        def check() -> None:
            nonlocal asked_at
            self._check_stop(keeper)
            if time.monotonic() - asked_at >= CANCEL_CHECK_SECONDS:
                asked_at = time.monotonic()
                with store_may_pause(keeper.job_id):
                    self._check_cancel(keeper.job_id)

        return check

    def _pause(self, keeper: LeaseKeeper) -> Pause:
        """Waits for a server that fails. Ends with the lease, a drain, a cancel or a deletion."""

        def pause(seconds: float, reason: str) -> None:
            self._activity.waiting(reason)
            self._services.drain.wait(seconds)
            self._check_stop(keeper)
            with store_may_pause(keeper.job_id):
                self._check_cancel(keeper.job_id)

        return pause

    def _patiently(self, action: Callable[[], T], keeper: LeaseKeeper) -> T:
        """For the store, whose calls end by themselves."""
        return patiently(action, self._pause(keeper))

    def _call(self, action: Callable[[], T], keeper: LeaseKeeper) -> ServerCall[T]:
        """For the object store, whose calls may hang."""
        return ServerCall(lambda: patiently(action, self._pause(keeper)))

    def _get(self, key: str, keeper: LeaseKeeper) -> bytes:
        return self._call(lambda: self._services.storage.get(key), keeper).result(self._check_often(keeper))

    def _get_checked(self, key: str, sha256: str | None, keeper: LeaseKeeper) -> bytes | None:
        """The object, or None where it is missing or not what was stored. An older version stored no checksum."""
        try:
            data = self._get(key, keeper)
        except ObjectNotFound:
            logger.warning("%s is missing", key)
            return None
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            logger.warning("%s is damaged", key)
            return None
        return data

    def _put(self, objects: Sequence[NewObject], keeper: LeaseKeeper) -> None:
        """All side by side; they must all be there before the commit."""
        put = self._services.storage.put
        calls = [self._call(partial(put, new.key, new.data, new.content_type), keeper) for new in objects]
        check = self._check_often(keeper)
        for call in calls:
            call.result(check)

    def _store_chunks(
        self,
        record: JobRecord,
        first_frame: int,
        frames: FramesTHWC,
        key_of: Callable[[str, int], str],
        also: Sequence[NewObject],
        watch: Stopwatch,
        keeper: LeaseKeeper,
    ) -> tuple[ChunkRecord, ...]:
        """Encode frames from `first_frame` on chunk by chunk, put all of it with `also`, and say what to commit."""
        spec = record.spec
        spans = spans_of(range(first_frame, first_frame + len(frames)), spec.num_frames)
        with watch.phase("encode"):
            own = [frames[span.first_frame - first_frame :][: span.num_frames] for span in spans]
            encoded = [encode_chunk(own, spec.fps, s.index, s.first_frame) for s, own in zip(spans, own, strict=True)]
        keys = [key_of(record.id, span.index) for span in spans]
        with watch.phase("upload"):
            chunks = [NewObject(key, each.data, CHUNK_TYPE) for key, each in zip(keys, encoded, strict=True)]
            self._put([*chunks, *also], keeper)
        # Chunks that are made together share the time, so that the timings of all still add up.
        timings = {phase: seconds / max(1, len(spans)) for phase, seconds in watch.seconds.items()}
        made = zip(spans, keys, encoded, strict=True)
        return tuple(self._chunk_record(span, key, each, timings) for span, key, each in made)

    def _chunk_record(
        self, span: ChunkSpan, key: str, encoded: EncodedChunk, timings: Mapping[str, float]
    ) -> ChunkRecord:
        return ChunkRecord(
            index=span.index,
            first_frame=span.first_frame,
            num_frames=span.num_frames,
            key=key,
            head_bytes=encoded.head_bytes,
            size_bytes=len(encoded.data),
            sha256=hashlib.sha256(encoded.data).hexdigest(),
            created_at=self._services.clock.now(),
            timings=dict(timings),
        )

    def _commit(self, lease: Lease, state: State, commit: Callable[[], JobRecord], keeper: LeaseKeeper) -> JobRecord:
        """Commit, write the manifest, and keep the state for a next task of the same job."""
        watch = Stopwatch()
        with watch.phase("commit"):
            committed = self._patiently(commit, keeper)
            write_manifest(self._services, committed)
        self._remembered[lease.job_id] = Remembered(lease.token, state, watch.seconds["commit"])
        self._remembered.move_to_end(lease.job_id)
        if len(self._remembered) > self.states_remembered:
            self._remembered.popitem(last=False)
        return committed

    def _remembered_of(self, record: JobRecord) -> Remembered[State] | None:
        """What is remembered, if nobody but this process has claimed the lane since."""
        remembered = self._remembered.get(record.id)
        return remembered if remembered and record.lane(self.lane).token == remembered.token + 1 else None

    def _pass_on(self, record: JobRecord) -> None:
        """After the commit: wake those who have something to do now."""
        if wants_webhook(record, self.commit_event):
            self._services.queue.deliver_webhooks()
        wake(self._services, record)

    def _repair(self, lease: Lease, damage: Damaged, keeper: LeaseKeeper) -> Outcome:
        """Nobody goes on from wrong bytes: what is damaged is made again first."""
        logger.warning("%s: %s", lease.job_id, damage)
        self._remembered.pop(lease.job_id, None)
        store = self._services.store
        record = self._patiently(
            lambda: store.repair(lease, damage.chunks, refine_from=damage.refine_from, media=damage.media), keeper
        )
        if record.media_repairs > self._services.settings.max_attempts:
            fail_job(self._services, record.id, media_lost_error(record.media_repairs))
            return Outcome.FAILED
        write_manifest(self._services, record)
        wake(self._services, record)
        return Outcome.INTERRUPTED

    def _interrupted(self, lease: Lease, keeper: LeaseKeeper, reason: LongtakeError) -> Outcome:
        """Cancel, deletion, drain or a lost lease: no try is counted, and the job goes where it belongs."""
        services, job_id = self._services, lease.job_id
        logger.info("%s: %s", job_id, reason)
        if keeper.lost.is_set():
            sweep_again(services, job_id)
            return Outcome.INTERRUPTED
        services.store.release(lease, count_attempt=False)
        try:
            record = services.store.get(job_id)
        except JobNotFound:
            self._remembered.pop(job_id, None)
            remove_deleted_objects(services, job_id)
            services.queue.janitor()
        else:
            sweep_again(services, job_id)
            wake(services, record)
        return Outcome.INTERRUPTED

    def _failed(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> Outcome:
        """Raises `error`, unless it is a server's or was expected."""
        if isinstance(error, StorageError | StoreError):
            logger.warning("%s: %s", record.id, error.message)
            return self._put_off(lease)
        if is_disk_trouble(error):
            logger.error("%s: this worker's disk: %r", record.id, error)
            return self._put_off(lease)
        if isinstance(error, NotFinite):
            return self._failed_for_good(record, lease, error)
        self._count_failure(record, lease, error, keeper)
        raise error

    def _put_off(self, lease: Lease) -> Outcome:
        """Not the job's fault: it comes back after a pause, and no try is counted."""
        self._services.store.release(lease, count_attempt=False, rest_seconds=self._rest_seconds(0))
        return Outcome.INTERRUPTED

    def _failed_for_good(self, record: JobRecord, lease: Lease, error: LongtakeError) -> Outcome:
        """Another try would end as this one did."""
        self._remembered.pop(record.id, None)
        self._services.store.release(lease, count_attempt=True)
        told = JobError(code=error.code, message=error.public_message, retryable=False, fix=error.public_fix)
        fail_job(self._services, record.id, told)
        return Outcome.FAILED

    def _count_failure(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> None:
        """The job comes back after a pause that doubles with each failure, unless this was the last try."""
        self._remembered.pop(record.id, None)
        store, attempts = self._services.store, record.lane(self.lane).attempts + 1
        rest = self._rest_seconds(attempts)
        self._patiently(lambda: store.release(lease, count_attempt=True, rest_seconds=rest), keeper)
        piece = self._next_piece(record)
        logger.error("%s: try %d of %s failed: %r", record.id, attempts, piece, error)
        if attempts >= self._services.settings.max_attempts:
            fail_job(self._services, record.id, job_error(error, f"{piece} failed {attempts} times", self.failure_code))

    def _rest_seconds(self, attempts: int) -> float:
        return self._services.settings.janitor_interval_seconds * 2**attempts

    def _poisoned(self, record: JobRecord) -> Outcome:
        """Too many workers have died of this piece."""
        state, piece = record.lane(self.lane), self._next_piece(record)
        message = f"{state.deaths} workers died one after the other while they made {piece}"
        fail_job(self._services, record.id, poison_error(message))
        return Outcome.FAILED


@contextmanager
def store_may_pause(job_id: str) -> Generator[None]:
    """A pause of the store must not cost the piece: the keeper decides when the lease is gone."""
    try:
        yield
    except StoreError as error:
        logger.warning("%s: the store does not answer: %s", job_id, error)
