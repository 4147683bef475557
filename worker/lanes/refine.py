"""The refine lane: one task, one piece of refinement (core/service/domain/refine_plan.py says what that is).

Reads the exact frames that the generate lane leaves, never its lossy chunks. Over ports only, as lane.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from core.service.domain.engine import FramesTHWC, OnStep, unpack
from core.service.domain.errors import InvalidChunk
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.manifest import frames_key, refine_state_key, refined_key
from core.service.domain.ports import Lease
from core.service.domain.refine_plan import RefinePiece, num_pieces, refine_piece, refine_spec
from core.service.domain.refiner import RefinedWindow, RefineEngine, RefineState
from core.service.domain.schema import ChunkRecord, JobRecord, JobSpec, Lane
from core.service.records.kept_objects import KEPT_REFINED_FRAMES
from worker.lanes.chunk_lane import ChunkLane
from worker.lanes.generate import FIRST_FRAME
from worker.lanes.lane import Damaged
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import STATE_TYPE, NewObject
from worker.runtime.services import Activity, Services
from worker.runtime.stopwatch import Stopwatch

logger = logging.getLogger(__name__)

NO_FRAMES: FramesTHWC = np.empty((0, 0, 0, 3), dtype=np.uint8)


class ChunkRefiner(ChunkLane[RefineState]):
    """Refines on one engine, one call of `work` per task. The engine is loaded when the first task needs it."""

    lane = Lane.REFINE
    commit_event = "chunk.refined"
    cached_states = 2

    def __init__(
        self,
        services: Services,
        load: Callable[[], RefineEngine],
        model: str,
        activity: Activity | None = None,
    ) -> None:
        super().__init__(services, model, activity)
        self._load = load

    def _next_piece(self, record: JobRecord) -> str:
        return f"piece {record.refine_done + 1} of {num_pieces(record.spec)} of the refinement"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        services, spec = self._services, record.spec
        piece = refine_piece(spec, record.refine_done)
        sources = self._sources(record, piece, keeper)
        watch = Stopwatch(self._wait_times(record, _ready_since(record, sources)))
        with watch.phase("load"):
            engine = self._load()
            state = self._load_state(record, piece, keeper)
            frames = self._read_frames(record.id, piece.needs, sources, keeper)
        on_step = self._on_step(record.id, record.refined.count, keeper)
        made = _refined(engine, spec.for_engine(), piece, state, frames, on_step)
        _check_frames(made.frames, piece, spec)
        watch.add(made.timings)
        later = [] if made.state is state else [_state_object(record.id, piece, made.state)]
        stored = self._store_chunks(record, piece.publishes.start, made.frames, refined_key, later, watch, keeper)
        chunks = self._as_before(record, "refined", stored, keeper)
        done, fingerprint, sha256 = piece.index + 1, engine.fingerprint, later[0].sha256 if later else None
        committed = self._commit(
            lease,
            made.state,
            lambda: services.store.commit_refined(lease, done, chunks, fingerprint, sha256),
            keeper,
        )
        self._report_speed(record, chunks)
        if later and piece.state_of is not None:
            # States are large. Kept are the newest and the one it was made of, for a manifest that was not written.
            self._delete(refine_state_key(record.id, piece.state_of - 1))
        if spec.is_endless and (old := done - KEPT_REFINED_FRAMES - 1) >= 0:
            self._delete(frames_key(record.id, old))
        logger.info("%s: refinement %d/%d committed", record.id, done, num_pieces(spec))
        return committed

    def _load_state(self, record: JobRecord, piece: RefinePiece, keeper: LeaseKeeper) -> RefineState:
        if piece.state_of is None:
            return RefineState()
        cached = self._cached(record)
        if cached is not None:
            return cached.state
        data = self._get_checked(refine_state_key(record.id, piece.state_of), _checksum(record, piece.state_of), keeper)
        if data is None:
            raise Damaged(refine_from=self._newest_good(record, piece.state_of, keeper))
        return RefineState.from_bytes(data)

    def _newest_good(self, record: JobRecord, state_of: int, keeper: LeaseKeeper) -> int:
        """The piece to continue with if the state after piece `state_of` is lost: the one before is kept as well."""
        before = state_of - 1
        checksum = _checksum(record, before)
        good = checksum is not None and self._get_checked(refine_state_key(record.id, before), checksum, keeper)
        return before + 1 if good else 0

    def _sources(self, record: JobRecord, piece: RefinePiece, keeper: LeaseKeeper) -> Sequence[ChunkRecord]:
        """The chunks that hold the frames which the piece reads."""
        first, end = piece.needs.start // CHUNK_FRAMES, -(-piece.needs.stop // CHUNK_FRAMES)
        return self._chunks(record, "preview", first, end, keeper)

    def _read_frames(
        self, job_id: str, wanted: range, sources: Sequence[ChunkRecord], keeper: LeaseKeeper
    ) -> FramesTHWC:
        """The exact preview frames `wanted`, from the objects of the chunks that hold them."""
        if not wanted:
            return NO_FRAMES
        objects = {chunk.index: self._frames_object(job_id, chunk, keeper) for chunk in sources}
        damaged = tuple(index for index, data in objects.items() if data is None)
        if damaged:
            raise Damaged(damaged)
        frames = np.concatenate([unpack(data, FIRST_FRAME)[0]["frames"] for data in objects.values() if data])
        return frames[wanted.start - sources[0].first_frame :][: len(wanted)]

    def _frames_object(self, job_id: str, chunk: ChunkRecord, keeper: LeaseKeeper) -> bytes | None:
        return self._get_checked(frames_key(job_id, chunk.index), chunk.frames_sha256, keeper)


def _check_frames(frames: FramesTHWC, piece: RefinePiece, spec: JobSpec) -> None:
    """Raises InvalidChunk if a refiner, which may be a third party's, returned other frames than `piece` publishes."""
    refine, count = refine_spec(spec), len(piece.publishes)
    expected = (count, refine.height, refine.width, 3)
    if len(frames) != count or (count and (frames.shape, frames.dtype) != (expected, np.uint8)):
        raise InvalidChunk(f"the refiner returned frames {frames.shape} {frames.dtype} instead of {expected} uint8")


def _checksum(record: JobRecord, piece: int) -> str | None:
    """Of the state after a piece; None if none is known."""
    return next((one.sha256 for one in record.refine_states if one.piece == piece), None)


def _ready_since(record: JobRecord, sources: Sequence[ChunkRecord]) -> datetime:
    """When the next piece could begin: after the last refined chunk, and after the newest frames that it reads.

    Pieces of lockstep that read none go on from a state that was made of all of them.
    """
    read = sources[-1] if sources else record.chunks.last
    return max(chunk.created_at for chunk in (read, record.refined.last) if chunk is not None)


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
