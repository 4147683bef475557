"""The refine lane: one task, one piece of refinement (core/service/refine_plan.py says what that is).

Reads the exact frames that the generate lane leaves, never its lossy chunks. Over ports only, as lane.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

import numpy as np

from core.service.engine import FramesTHWC, OnStep, unpack
from core.service.errors import StorageError
from core.service.frame_plan import CHUNK_FRAMES
from core.service.manifest import frames_key, refine_state_key, refined_key
from core.service.ports import Lease
from core.service.refine_engine import RefinedWindow, RefineEngine, RefineState
from core.service.refine_plan import RefinePiece, num_pieces, refine_piece, refine_spec
from core.service.schema import JobRecord, JobSpec, Lane
from worker.generate import FIRST_FRAME
from worker.lane import STATE_TYPE, LaneWorker, NewObject
from worker.lease_keeper import LeaseKeeper
from worker.services import Activity, Services
from worker.stopwatch import Stopwatch
from worker.uploads import PATIENCE_SECONDS

logger = logging.getLogger(__name__)

NO_FRAMES: FramesTHWC = np.empty((0, 0, 0, 3), dtype=np.uint8)


class ChunkRefiner(LaneWorker[RefineState]):
    """Refines on one engine, one call of `work_on` per task. The engine is loaded when the first task needs it."""

    lane = Lane.REFINE
    goes_on = (Lane.REFINE,)
    commit_event = "chunk.refined"
    states_remembered = 2

    def __init__(
        self,
        services: Services,
        load: Callable[[], RefineEngine],
        activity: Activity | None = None,
        upload_patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(services, activity, upload_patience_seconds)
        self._load = load

    def _next_piece(self, record: JobRecord) -> str:
        return f"piece {record.refine_done} of {num_pieces(record.spec)} of the refinement"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        services, spec = self._services, record.spec
        piece = refine_piece(spec, record.refine_done)
        watch = Stopwatch(self._waited(record, _ready_since(record)))
        with watch.phase("load"):
            engine = self._load()
            state = self._load_state(record, piece, keeper)
            frames = self._read_frames(record.id, piece.needs, keeper)
        on_step = self._on_step(record.id, len(record.refined), keeper)
        made = _refined(engine, spec, piece, state, frames, on_step)
        assert len(made.frames) == len(piece.publishes), (made.frames.shape, piece)
        watch.add(made.timings)
        later = [] if made.state is state else [_state_object(record.id, piece, made.state)]
        chunks = self._store_chunks(record, piece.publishes.start, made.frames, refined_key, later, watch, keeper)
        done, fingerprint = piece.index + 1, engine.fingerprint
        committed = self._commit(
            lease, made.state, lambda: services.store.commit_refined(lease, done, chunks, fingerprint)
        )
        self._drop_old_state(record.id, piece)
        logger.info("%s: refinement %d/%d committed", record.id, done, num_pieces(spec))
        return committed

    def _drop_old_state(self, job_id: str, piece: RefinePiece) -> None:
        """States are large. Kept are the newest and the one it was made of, for a manifest that was not written."""
        try:
            if piece.state_of is not None:
                self._services.storage.delete_prefix(refine_state_key(job_id, piece.state_of - 1))
        except StorageError as error:
            logger.warning("%s: an old state is left until the job ends: %s", job_id, error)

    def _load_state(self, record: JobRecord, piece: RefinePiece, keeper: LeaseKeeper) -> RefineState:
        if piece.state_of is None:
            return RefineState()
        remembered = self._remembered_of(record)
        if remembered is not None:
            return remembered.state
        return RefineState.from_bytes(self._get(refine_state_key(record.id, piece.state_of), keeper))

    def _read_frames(self, job_id: str, wanted: range, keeper: LeaseKeeper) -> FramesTHWC:
        """The exact preview frames `wanted`, from the objects of the chunks that hold them."""
        if not wanted:
            return NO_FRAMES
        first, end = wanted.start // CHUNK_FRAMES, -(-wanted.stop // CHUNK_FRAMES)
        objects = [self._get(frames_key(job_id, index), keeper) for index in range(first, end)]
        frames = np.concatenate([unpack(data, FIRST_FRAME)[0]["frames"] for data in objects])
        return frames[wanted.start - first * CHUNK_FRAMES :][: len(wanted)]


def _ready_since(record: JobRecord) -> datetime:
    """When the next piece could begin: after the last refined chunk, and after the newest frames that it reads.

    Pieces of lockstep that read none go on from a state that was made of all of them.
    """
    piece = refine_piece(record.spec, record.refine_done)
    end = piece.needs.stop or record.spec.num_frames
    newest = record.chunks[(end - 1) // CHUNK_FRAMES].created_at
    return max(newest, record.refined[-1].created_at) if record.refined else newest


def _state_object(job_id: str, piece: RefinePiece, state: RefineState) -> NewObject:
    return NewObject(refine_state_key(job_id, piece.index), state.to_bytes(), STATE_TYPE)


def _refined(
    engine: RefineEngine, spec: JobSpec, piece: RefinePiece, state: RefineState, frames: FramesTHWC, on_step: OnStep
) -> RefinedWindow:
    """One piece of either schedule."""
    if refine_spec(spec).schedule == "streaming":
        return engine.refine_window(spec, state, frames, on_step)
    started = time.perf_counter()
    if piece.publishes:
        decoded = engine.finish_lockstep(spec, state, piece.publishes)
        return RefinedWindow(decoded, state, {"decode": time.perf_counter() - started})
    before = engine.start_lockstep(spec, frames) if piece.index == 0 else state
    after = engine.step_lockstep(spec, before, on_step)
    return RefinedWindow(NO_FRAMES, after, {"denoise": time.perf_counter() - started})
