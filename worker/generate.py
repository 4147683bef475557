"""The generate lane: one task, one chunk. Load the state, run the engine, store, commit (lane.py does the rest).

Plain functions over ports: knows no Celery, no Redis, no S3, no torch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from core.service.engine import Engine, EngineState, FramesTHWC, pack
from core.service.errors import MediaError, MediaFetchFailed, UrlRefused
from core.service.frame_plan import ChunkSpan, chunk_span
from core.service.manifest import chunk_key, frames_key, state_key
from core.service.ports import Lease
from core.service.schema import JobError, JobRecord, Lane
from worker.endings import fail_job
from worker.given import GivenReader
from worker.lane import STATE_TYPE, LaneWorker, NewObject, Outcome, store_may_pause
from worker.lease_keeper import LeaseKeeper
from worker.services import Activity, Services
from worker.stopwatch import Stopwatch
from worker.uploads import PATIENCE_SECONDS

logger = logging.getLogger(__name__)

CANCEL_CHECK_SECONDS = 1.0
"""Pause between two looks for a cancel while an image or video is read."""
FIRST_FRAME = "first_frame"
"""Name of the counter in an object of exact frames; the frames themselves are `frames`."""


class ChunkMaker(LaneWorker[EngineState]):
    """Makes chunks on one engine, one call of `work_on` per task."""

    lane = Lane.GENERATE
    goes_on = (Lane.GENERATE, Lane.REFINE)
    commit_event = "chunk.completed"
    states_remembered = 8

    def __init__(
        self,
        services: Services,
        engine: Engine,
        activity: Activity | None = None,
        upload_patience_seconds: float = PATIENCE_SECONDS,
        given: GivenReader | None = None,
    ) -> None:
        super().__init__(services, activity, upload_patience_seconds)
        self._given = given or GivenReader(services, patience_seconds=upload_patience_seconds)
        self._engine = engine

    def _next_piece(self, record: JobRecord) -> str:
        return f"chunk {len(record.chunks)}"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        services, spec = self._services, record.spec
        span = chunk_span(len(record.chunks), spec.num_frames)
        since = record.chunks[-1].created_at if record.chunks else record.created_at
        watch = Stopwatch(self._waited(record, since))
        with watch.phase("load"):
            state = self._load_state(record, keeper)
        made = self._engine.next_chunk(spec, state, self._on_step(record.id, span.index, keeper))
        assert len(made.frames) == span.num_frames, (made.frames.shape, span)
        watch.add(made.timings)
        later = _for_later(record, span, made.frames, made.state)
        (chunk,) = self._store_chunks(record, span.first_frame, made.frames, chunk_key, later, watch, keeper)
        fingerprint = self._engine.fingerprint
        committed = self._commit(lease, made.state, lambda: services.store.commit_chunk(lease, chunk, fingerprint))
        logger.info("%s: chunk %d of %d frames committed", record.id, span.index, span.num_frames)
        return committed

    def _load_state(self, record: JobRecord, keeper: LeaseKeeper) -> EngineState:
        if not record.chunks:
            given = self._given.read(record.spec, self._while_reading(record.id, keeper), self._pause(keeper))
            return self._engine.start(record.spec, given)
        remembered = self._remembered_of(record)
        if remembered is not None:
            return remembered.state
        return EngineState.from_bytes(self._get(state_key(record.id, len(record.chunks) - 1), keeper))

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
                with store_may_pause(job_id):
                    self._check_cancel(job_id)

        return tick

    def _failed(self, record: JobRecord, lease: Lease, error: Exception) -> Outcome:
        """Of unusable media only a server that did not answer may do so at the next try; all else fails the job now."""
        if not isinstance(error, MediaError | UrlRefused):
            return super()._failed(record, lease, error)
        if isinstance(error, MediaFetchFailed):
            self._record_failure(record, lease, error)
        else:
            self._services.store.release(lease, count_attempt=True)
            fail_job(self._services, record.id, JobError(code=error.code, message=error.message, retryable=False))
        return Outcome.FAILED


def _for_later(record: JobRecord, span: ChunkSpan, frames: FramesTHWC, state: EngineState) -> list[NewObject]:
    """What the next chunk needs and, where the job is refined, the refiner: the exact frames."""
    state_object = NewObject(state_key(record.id, span.index), state.to_bytes(), STATE_TYPE)
    if record.spec.refine is None:
        return [state_object]
    exact = pack({"frames": frames}, FIRST_FRAME, span.first_frame)
    return [state_object, NewObject(frames_key(record.id, span.index), exact, STATE_TYPE)]
