"""One task, one piece of work on one lane of a job: claim it, keep the lease, make and commit, pass the job on.

What a piece is belongs to the lane: generate.py makes chunks, refine.py refines them. Here is what both do alike, every
way out included. Knows no Celery, no Redis, no S3, no torch. A crash between any two lines costs at most this piece:
until the commit nothing is visible, and whoever makes the piece again makes the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from core.service import transitions
from core.service.engine import FramesTHWC
from core.service.errors import Interrupted, JobNotFound, LongtakeError, StaleLease, StoreError
from core.service.frame_plan import ChunkSpan
from core.service.ports import Lease
from core.service.refine_plan import spans_of
from core.service.schema import ChunkRecord, JobError, JobRecord, JobStatus, Lane, StepProgress, WebhookEvent
from core.service.video.segments import EncodedChunk, encode_chunk
from worker.endings import fail_job, job_error, send, wants_webhook, wind_up, write_manifest
from worker.lease_keeper import LeaseKeeper
from worker.services import Activity, NoActivity, Services
from worker.stopwatch import Stopwatch
from worker.uploads import PATIENCE_SECONDS, patiently

logger = logging.getLogger(__name__)

CHUNK_TYPE = "video/mp4"
STATE_TYPE = "application/octet-stream"

State = TypeVar("State")


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


@dataclass(frozen=True)
class Remembered(Generic[State]):
    """What this process knows of the piece it committed last for a job, under which fencing token."""

    token: int
    state: State
    commit_seconds: float


def _nothing() -> None: ...


class LaneWorker(ABC, Generic[State]):
    """Works on one lane of jobs, one call per task. `State` goes from one piece to the next."""

    lane: ClassVar[Lane]
    goes_on: ClassVar[tuple[Lane, ...]]
    """Lanes that may have work after a commit on this one."""
    commit_event: ClassVar[WebhookEvent]
    states_remembered: ClassVar[int]
    """Newest states kept in memory, so that a worker that goes on with a job need not fetch what it has just put."""

    def __init__(
        self,
        services: Services,
        activity: Activity | None = None,
        upload_patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._services = services
        self._activity = activity or NoActivity()
        self._patience = upload_patience_seconds
        self._remembered: OrderedDict[str, Remembered[State]] = OrderedDict()

    @abstractmethod
    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        """The next piece of the lane; the record after its commit."""

    @abstractmethod
    def _next_piece(self, record: JobRecord) -> str:
        """The lane's next piece in words, as in "chunk 3"."""

    def work_on(self, job_id: str, keep_message: Callable[[], None] = _nothing) -> Outcome:
        """The job's next piece, or nothing where the job does not want one now (duplicate task, ended, deleted).

        Raises what the engine or the object store raised, after the try is recorded.
        """
        services = self._services
        try:
            if services.drain.is_set():
                send(services.queue, services.store.get(job_id), self.lane)
                return Outcome.INTERRUPTED
            lease = services.store.claim(job_id, self.lane, services.worker, services.settings.lease_ttl_seconds)
            if lease is None:
                return self._not_now(job_id)
            self._activity.busy(job_id)
            with LeaseKeeper(services.store, lease, services.settings.lease_ttl_seconds, keep_message) as keeper:
                return self._under_lease(lease, keeper)
        except JobNotFound:
            logger.info("%s: deleted or unknown, dropped", job_id)
            self._remembered.pop(job_id, None)
            return Outcome.DROPPED
        finally:
            self._activity.idle()

    def _not_now(self, job_id: str) -> Outcome:
        """No claim: somebody else is at it, or the job was cancelled between two pieces and nobody has wound it up."""
        store = self._services.store
        if store.get(job_id).status is JobStatus.CANCELING and not store.lease_alive(job_id, self.lane):
            wind_up(self._services, job_id)
        logger.info("%s: nothing to %s now, dropped", job_id, self.lane)
        return Outcome.DROPPED

    def _under_lease(self, lease: Lease, keeper: LeaseKeeper) -> Outcome:
        store, job_id = self._services.store, lease.job_id
        record = store.get(job_id)
        if record.lane(self.lane).attempts > self._services.settings.max_attempts:
            return self._too_many_deaths(record)
        try:
            committed = self._make_and_commit(record, lease, keeper)
        except (Interrupted, JobNotFound) as reason:
            return self._interrupted(lease, keeper, reason)
        except StaleLease as reason:
            logger.warning("%s: %s", job_id, reason)
            return Outcome.DROPPED
        except Exception as error:  # the task's boundary: record the try, let the error through
            return self._failed(record, lease, error)
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

    def _pause(self, keeper: LeaseKeeper) -> Callable[[float], None]:
        def pause(seconds: float) -> None:
            self._services.drain.wait(seconds)
            self._activity.beat()
            self._check_stop(keeper)

        return pause

    def _get(self, key: str, keeper: LeaseKeeper) -> bytes:
        return patiently(lambda: self._services.storage.get(key), self._pause(keeper), self._patience)

    def _put(self, objects: Sequence[NewObject], keeper: LeaseKeeper) -> None:
        """All side by side; they must all be there before the commit."""
        storage, pause = self._services.storage, self._pause(keeper)

        def put(new: NewObject) -> None:
            patiently(lambda: storage.put(new.key, new.data, new.content_type), pause, self._patience)

        with ThreadPoolExecutor(len(objects)) as pool:
            for done in [pool.submit(put, new) for new in objects]:
                done.result()

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

    def _commit(self, lease: Lease, state: State, commit: Callable[[], JobRecord]) -> JobRecord:
        """Commit, write the manifest, and keep the state for a next task of the same job."""
        watch = Stopwatch()
        with watch.phase("commit"):
            committed = commit()
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
        """After the commit: the next piece, the end, or the end asked for meanwhile."""
        queue = self._services.queue
        if wants_webhook(record, self.commit_event):
            queue.deliver_webhooks()
        if record.status is JobStatus.FINALIZING:
            queue.finalize_job(record.id)
        elif record.status is JobStatus.CANCELING:
            wind_up(self._services, record.id)
        for lane in self.goes_on:
            if transitions.wants(record, lane):
                send(queue, record, lane)

    def _interrupted(self, lease: Lease, keeper: LeaseKeeper, reason: LongtakeError) -> Outcome:
        """Cancel, deletion, drain or a lost lease: the try does not count, and the job goes where it belongs."""
        store, job_id = self._services.store, lease.job_id
        logger.info("%s: %s", job_id, reason)
        if keeper.lost.is_set():
            return Outcome.INTERRUPTED
        store.release(lease, count_attempt=False)
        if store.cancel_requested(job_id):
            wind_up(self._services, job_id)
        else:
            send(self._services.queue, store.get(job_id), self.lane)
        return Outcome.INTERRUPTED

    def _failed(self, record: JobRecord, lease: Lease, error: Exception) -> Outcome:
        self._record_failure(record, lease, error)
        raise error

    def _record_failure(self, record: JobRecord, lease: Lease, error: Exception) -> None:
        """Count the try; the janitor brings the job back after a pause, unless it was the last try."""
        self._remembered.pop(record.id, None)
        self._services.store.release(lease, count_attempt=True)
        attempts, piece = record.lane(self.lane).attempts, self._next_piece(record)
        logger.error("%s: try %d of %s failed: %r", record.id, attempts, piece, error)
        if attempts >= self._services.settings.max_attempts:
            fail_job(self._services, record.id, job_error(error, f"{piece} failed {attempts} times", "engine_error"))

    def _too_many_deaths(self, record: JobRecord) -> Outcome:
        """The tries are used up without one recorded failure: each time the worker itself died."""
        piece, tries = self._next_piece(record), self._services.settings.max_attempts
        message = f"the worker died each of the {tries} times it made {piece}"
        fail_job(self._services, record.id, JobError(code="worker_lost", message=message, retryable=False))
        return Outcome.FAILED


@contextmanager
def store_may_pause(job_id: str) -> Generator[None]:
    """A pause of the store must not cost the piece: the keeper decides when the lease is gone."""
    try:
        yield
    except StoreError as error:
        logger.warning("%s: the store does not answer: %s", job_id, error)
