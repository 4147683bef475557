"""The refine lane: one task, one piece of refinement (core/service/domain/refine_plan.py says what that is).

Reads the exact frames that the generate lane leaves, never its lossy chunks. Over ports only, as lane.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

import numpy as np

from core.service.domain.chunk_order import has_short_end
from core.service.domain.engine import FramesTHWC, OnStep, unpack
from core.service.domain.errors import InvalidChunk
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.manifest import (
    frames_key,
    generation_of,
    refine_state_key,
    refine_state_prefix,
    refined_key,
)
from core.service.domain.ports import Lease
from core.service.domain.refine_plan import RefinePiece, num_pieces, refine_piece, refine_spec
from core.service.domain.refiner import RefinedWindow, RefineEngine, RefineState
from core.service.domain.schema import ChunkRecord, JobRecord, JobSpec, Lane
from core.service.records.kept_objects import KEPT_FRAMES
from worker.lanes.chunk_lane import ChunkLane, made_again
from worker.lanes.engine_results import FIRST_FRAME
from worker.lanes.lane import Damaged
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import STATE_TYPE, NewObject
from worker.runtime.services import Activity, Services
from worker.runtime.stopwatch import Stopwatch

logger = logging.getLogger(__name__)

NO_FRAMES: FramesTHWC = np.empty((0, 0, 0, 3), dtype=np.uint8)


class ChunkRefiner(ChunkLane[RefineState]):
    """Refines on one engine, which is loaded when the first piece needs it."""

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

    def _chunk_of(self, record: JobRecord) -> int | None:
        return record.refined.count

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
        with watch.interval("engine"):
            made = _refined(engine, spec.for_engine(), piece, state, frames, on_step)
        _check_frames(made.frames, piece, spec)
        watch.add(made.timings)
        later = [] if made.state is state else [_state_object(record, piece, made.state)]
        known = self._known(record, piece, keeper)
        key_of = partial(self._key_of, record, known, keeper)
        stored = self._store_chunks(record, piece.publishes.start, made.frames, key_of, later, watch, keeper)
        chunks = tuple(made_again(known[new.index], new) if new.index in known else new for new in stored)
        done, fingerprint, sha256 = piece.index + 1, engine.fingerprint, later[0].sha256 if later else None
        committed = self._commit(
            lease,
            made.state,
            lambda: services.store.commit_refined(lease, done, chunks, fingerprint, sha256),
            keeper,
            piece.index,
            watch,
        )
        self._report_speed(record, [chunk for chunk in chunks if chunk.index not in known])
        if later and piece.state_of is not None:
            # States are large. Kept are the newest and the one it was made of, for a manifest that was not written.
            self._delete_prefix(refine_state_prefix(record.id, piece.state_of - 1))
        if spec.is_endless and (old := done - KEPT_FRAMES - 1) >= 0:
            self._delete_prefix(frames_key(record.id, old, record.generation))
        logger.info("%s: refinement %d/%d committed", record.id, done, num_pieces(spec))
        return committed

    def _known(self, record: JobRecord, piece: RefinePiece, keeper: LeaseKeeper) -> dict[int, ChunkRecord]:
        """The chunks that the piece publishes again, by index: the refined video was damaged, or the job extended."""
        start, end = piece.publishes.start // CHUNK_FRAMES, -(-piece.publishes.stop // CHUNK_FRAMES)
        stop = min(end, record.refined.count - has_short_end(record.refined, record.spec))
        chunks = self._chunks(record, "refined", start, stop, keeper)
        return {chunk.index: chunk for chunk in chunks}

    def _key_of(
        self, record: JobRecord, known: Mapping[int, ChunkRecord], keeper: LeaseKeeper, index: int
    ) -> str | None:
        """Where to store a refined chunk; None if it is there. One that is published never changes, although the last
        chunk of a video that was extended would be another one with the frames after it."""
        first = known.get(index)
        if first is not None and self._get_checked(first.key, first.sha256, keeper) is not None:
            return None
        return refined_key(record.id, index, record.generation)

    def _load_state(self, record: JobRecord, piece: RefinePiece, keeper: LeaseKeeper) -> RefineState:
        if piece.state_of is None:
            return RefineState()
        cached = self._cached(record)
        if cached is not None:
            return cached.state
        data = self._get_checked(*_stored_state(record, piece.state_of), keeper)
        if data is None:
            raise Damaged(refine_from=self._newest_good(record, piece.state_of, keeper))
        return RefineState.from_bytes(data)

    def _newest_good(self, record: JobRecord, state_of: int, keeper: LeaseKeeper) -> int:
        """The piece to continue with if the state after piece `state_of` is lost: the one before is kept as well."""
        before = state_of - 1
        key, checksum = _stored_state(record, before)
        good = checksum is not None and self._get_checked(key, checksum, keeper)
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
        key = frames_key(job_id, chunk.index, generation_of(chunk.key))
        return self._get_checked(key, chunk.frames_sha256, keeper)


def _check_frames(frames: FramesTHWC, piece: RefinePiece, spec: JobSpec) -> None:
    """Raises InvalidChunk if a refiner, which may be a third party's, returned other frames than `piece` publishes."""
    refine, count = refine_spec(spec), len(piece.publishes)
    expected = (count, refine.height, refine.width, 3)
    if len(frames) != count or (count and (frames.shape, frames.dtype) != (expected, np.uint8)):
        raise InvalidChunk(f"the refiner returned frames {frames.shape} {frames.dtype} instead of {expected} uint8")


def _stored_state(record: JobRecord, piece: int) -> tuple[str, str | None]:
    """Key and checksum of the state after a piece; None if no checksum is known."""
    known = next((one for one in record.refine_states if one.piece == piece), None)
    if known is None:
        return refine_state_key(record.id, piece, record.generation), None
    return refine_state_key(record.id, piece, known.generation), known.sha256


def _ready_since(record: JobRecord, sources: Sequence[ChunkRecord]) -> datetime:
    """When the next piece could begin: after the last refined chunk, and after the newest frames that it reads.

    Pieces of lockstep that read none go on from a state that was made of all of them.
    """
    read = sources[-1] if sources else record.chunks.last
    return max(chunk.created_at for chunk in (read, record.refined.last) if chunk is not None)


def _state_object(record: JobRecord, piece: RefinePiece, state: RefineState) -> NewObject:
    return NewObject(refine_state_key(record.id, piece.index, record.generation), state.to_bytes(), STATE_TYPE)


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
