"""One task, one chunk: claim, load the state, run the engine, encode, store, commit, pass the job on.

Plain functions over ports: knows no Celery, no Redis, no S3, no torch. A crash between any two lines costs at most this
chunk: until the commit nothing is visible, and whoever makes the chunk again makes the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from core.service.engine import Engine, EngineState
from core.service.errors import (
    Interrupted,
    JobNotFound,
    LongtakeError,
    MediaError,
    MediaFetchFailed,
    StaleLease,
    StoreError,
    UrlRefused,
)
from core.service.frame_plan import ChunkSpan, chunk_span
from core.service.manifest import chunk_key, state_key
from core.service.ports import Lease
from core.service.schema import ChunkRecord, JobError, JobRecord, JobStatus, Lane, StepProgress
from core.service.video.segments import EncodedChunk, encode_chunk
from worker.endings import fail_job, job_error, wants_webhook, wind_up, write_manifest
from worker.given import GivenReader
from worker.lease_keeper import LeaseKeeper
from worker.services import Activity, NoActivity, Services
from worker.stopwatch import Stopwatch
from worker.uploads import PATIENCE_SECONDS, patiently

logger = logging.getLogger(__name__)

CHUNK_TYPE = "video/mp4"
STATE_TYPE = "application/octet-stream"
CANCEL_CHECK_SECONDS = 1.0
"""Pause between two looks for a cancel while an image or video is read."""
STATES_REMEMBERED = 8
"""Newest states kept in memory, so that a worker that goes on with a job need not fetch what it has just put."""


class Outcome(StrEnum):
    """How a task ended."""

    COMMITTED = "committed"
    DROPPED = "dropped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class _Remembered:
    """What this process knows of the chunk it committed last for a job."""

    sha256: str
    state: EngineState
    commit_seconds: float


def _nothing() -> None: ...


class ChunkMaker:
    """Makes chunks on one engine, one call per task."""

    def __init__(
        self,
        services: Services,
        engine: Engine,
        activity: Activity | None = None,
        upload_patience_seconds: float = PATIENCE_SECONDS,
        given: GivenReader | None = None,
    ) -> None:
        self._services = services
        self._given = given or GivenReader(services, patience_seconds=upload_patience_seconds)
        self._engine = engine
        self._activity = activity or NoActivity()
        self._patience = upload_patience_seconds
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    def make_next_chunk(self, job_id: str, keep_message: Callable[[], None] = _nothing) -> Outcome:
        """The job's next chunk, or nothing where the job does not want one now (duplicate task, ended, deleted).

        Raises what the engine or the object store raised, after the try is recorded.
        """
        services = self._services
        try:
            if services.drain.is_set():
                services.queue.generate_chunk(job_id, services.store.get(job_id).spec.model)
                return Outcome.INTERRUPTED
            lease = services.store.claim(job_id, Lane.GENERATE, services.worker, services.settings.lease_ttl_seconds)
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
        """No claim: somebody else is at it, or the job was cancelled between two chunks and nobody has wound it up."""
        store = self._services.store
        if store.get(job_id).status is JobStatus.CANCELING and not store.lease_alive(job_id, Lane.GENERATE):
            wind_up(self._services, job_id)
        logger.info("%s: nothing to do now, dropped", job_id)
        return Outcome.DROPPED

    def _under_lease(self, lease: Lease, keeper: LeaseKeeper) -> Outcome:
        store, job_id = self._services.store, lease.job_id
        record = store.get(job_id)
        if record.lane(Lane.GENERATE).attempts > self._services.settings.max_attempts:
            return self._too_many_deaths(record)
        try:
            committed = self._make_and_commit(record, lease, keeper)
        except (Interrupted, JobNotFound) as reason:
            return self._interrupted(lease, keeper, reason)
        except StaleLease as reason:
            logger.warning("%s: %s", job_id, reason)
            return Outcome.DROPPED
        except (MediaError, UrlRefused) as error:
            return self._given_unusable(record, lease, error)
        except Exception as error:  # the task's boundary: record the try, let the error through
            self._record_failure(record, lease, error)
            raise
        self._pass_on(committed)
        return Outcome.COMMITTED

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        services, spec = self._services, record.spec
        span = chunk_span(len(record.chunks), spec.num_frames)
        watch = Stopwatch(self._waited(record))
        with watch.phase("load"):
            state = self._load_state(record, keeper)
        made = self._engine.next_chunk(spec, state, self._on_step(record.id, span.index, keeper))
        assert len(made.frames) == span.num_frames, (made.frames.shape, span)
        watch.add(made.timings)
        with watch.phase("encode"):
            encoded = encode_chunk(made.frames, spec.fps, span.index, span.first_frame)
        with watch.phase("upload"):
            self._upload(record.id, span.index, encoded, made.state, keeper)
        chunk = self._chunk_record(record.id, span, encoded, watch)
        commit_watch = Stopwatch()
        with commit_watch.phase("commit"):
            committed = services.store.commit_chunk(lease, chunk, self._engine.fingerprint)
            write_manifest(services, committed)
        self._remember(record.id, _Remembered(chunk.sha256, made.state, commit_watch.seconds["commit"]))
        logger.info("%s: chunk %d of %d frames committed", record.id, span.index, span.num_frames)
        return committed

    def _waited(self, record: JobRecord) -> dict[str, float]:
        """Seconds from the chunk before (or the job's creation) to this claim: `commit`, where this process did it
        and so knows how long it took, and `queue`, the rest. So a chunk's timings add up to the time between commits.
        """
        since = record.chunks[-1].created_at if record.chunks else record.created_at
        waited = max(0.0, (self._services.clock.now() - since).total_seconds())
        remembered = self._remembered_of(record)
        commit = min(waited, remembered.commit_seconds) if remembered else 0.0
        return {"queue": waited - commit, "commit": commit}

    def _load_state(self, record: JobRecord, keeper: LeaseKeeper) -> EngineState:
        if not record.chunks:
            given = self._given.read(record.spec, self._while_reading(record.id, keeper), self._pause(keeper))
            return self._engine.start(record.spec, given)
        remembered = self._remembered_of(record)
        if remembered is not None:
            return remembered.state
        key = state_key(record.id, len(record.chunks) - 1)
        data = patiently(lambda: self._services.storage.get(key), self._pause(keeper), self._patience)
        return EngineState.from_bytes(data)

    def _on_step(self, job_id: str, chunk_index: int, keeper: LeaseKeeper) -> Callable[[int, int], None]:
        services = self._services

        def on_step(step: int, steps: int) -> None:
            self._activity.beat()
            self._check_stop(keeper)
            progress = StepProgress(chunk_index=chunk_index, step=step, steps=steps, at=services.clock.now())
            with _store_may_pause(job_id):
                services.store.report_progress(job_id, progress)
                self._check_cancel(job_id)

        return on_step

    def _while_reading(self, job_id: str, keeper: LeaseKeeper) -> Callable[[], None]:
        """Called often while what the job begins with is fetched and decoded; asks the store now and then.

        Never a beat: these are no steps, and would make the watchdog expect the first step as soon.
        """
        asked_at = time.monotonic()

        def tick() -> None:
            nonlocal asked_at
            self._check_stop(keeper)
            if time.monotonic() - asked_at >= CANCEL_CHECK_SECONDS:
                asked_at = time.monotonic()
                self._activity.busy(job_id)
                with _store_may_pause(job_id):
                    self._check_cancel(job_id)

        return tick

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

    def _upload(self, job_id: str, index: int, encoded: EncodedChunk, state: EngineState, keeper: LeaseKeeper) -> None:
        """Chunk and state side by side; both must be there before the commit."""
        storage, pause = self._services.storage, self._pause(keeper)

        def put(key: str, data: bytes, content_type: str) -> None:
            patiently(lambda: storage.put(key, data, content_type), pause, self._patience)

        with ThreadPoolExecutor(1) as pool:
            state_put = pool.submit(put, state_key(job_id, index), state.to_bytes(), STATE_TYPE)
            put(chunk_key(job_id, index), encoded.data, CHUNK_TYPE)
            state_put.result()

    def _chunk_record(self, job_id: str, span: ChunkSpan, encoded: EncodedChunk, watch: Stopwatch) -> ChunkRecord:
        return ChunkRecord(
            index=span.index,
            first_frame=span.first_frame,
            num_frames=span.num_frames,
            key=chunk_key(job_id, span.index),
            head_bytes=encoded.head_bytes,
            size_bytes=len(encoded.data),
            sha256=hashlib.sha256(encoded.data).hexdigest(),
            created_at=self._services.clock.now(),
            timings=watch.seconds,
        )

    def _remember(self, job_id: str, what: _Remembered) -> None:
        self._remembered[job_id] = what
        self._remembered.move_to_end(job_id)
        if len(self._remembered) > STATES_REMEMBERED:
            self._remembered.popitem(last=False)

    def _remembered_of(self, record: JobRecord) -> _Remembered | None:
        """What is remembered, if the record's last chunk is the very one it belongs to."""
        remembered = self._remembered.get(record.id)
        same = remembered is not None and bool(record.chunks) and record.chunks[-1].sha256 == remembered.sha256
        return remembered if same else None

    def _pass_on(self, record: JobRecord) -> None:
        """After the commit: the next chunk, the end, or the end asked for meanwhile."""
        queue = self._services.queue
        if wants_webhook(record, "chunk.completed"):
            queue.deliver_webhooks()
        if record.status is JobStatus.FINALIZING:
            queue.finalize_job(record.id)
        elif record.status is JobStatus.CANCELING:
            wind_up(self._services, record.id)
        else:
            queue.generate_chunk(record.id, record.spec.model)

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
            self._services.queue.generate_chunk(job_id, store.get(job_id).spec.model)
        return Outcome.INTERRUPTED

    def _record_failure(self, record: JobRecord, lease: Lease, error: Exception) -> None:
        """Count the try; the janitor brings the job back after a pause, unless it was the last try."""
        self._remembered.pop(record.id, None)
        self._services.store.release(lease, count_attempt=True)
        attempts, index = record.lane(Lane.GENERATE).attempts, len(record.chunks)
        logger.error("%s: try %d of chunk %d failed: %r", record.id, attempts, index, error)
        if attempts >= self._services.settings.max_attempts:
            fail_job(
                self._services, record.id, job_error(error, f"chunk {index} failed {attempts} times", "engine_error")
            )

    def _given_unusable(self, record: JobRecord, lease: Lease, error: MediaError | UrlRefused) -> Outcome:
        """Only a server that did not answer may do so at the next try; all else fails the job now."""
        if isinstance(error, MediaFetchFailed):
            self._record_failure(record, lease, error)
        else:
            self._services.store.release(lease, count_attempt=True)
            fail_job(self._services, record.id, JobError(code=error.code, message=error.message, retryable=False))
        return Outcome.FAILED

    def _too_many_deaths(self, record: JobRecord) -> Outcome:
        """The tries are used up without one recorded failure: each time the worker itself died."""
        index, tries = len(record.chunks), self._services.settings.max_attempts
        message = f"the worker died each of the {tries} times it made chunk {index}"
        fail_job(self._services, record.id, JobError(code="worker_lost", message=message, retryable=False))
        return Outcome.FAILED


@contextmanager
def _store_may_pause(job_id: str) -> Generator[None]:
    """A pause of the store must not cost the chunk: the keeper decides when the lease is gone."""
    try:
        yield
    except StoreError as error:
        logger.warning("%s: the store does not answer: %s", job_id, error)
