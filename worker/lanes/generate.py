"""The generate lane: one task, one chunk. Load the state, run the engine, store, commit (lane.py does the rest).

Third parties write engines: what they return is checked before it is stored.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime
from functools import partial
from typing import cast

import numpy as np
from safetensors import SafetensorError

from core.service.domain.chunk_order import next_chunk, next_new_chunk
from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    ChunkRequest,
    Engine,
    EngineChunk,
    EngineState,
    FramesTHWC,
    InputMedia,
    pack,
)
from core.service.domain.errors import ChunkNotRepeatable, InvalidChunk
from core.service.domain.frame_plan import CHUNK_FRAMES, ChunkSpan, chunk_span, num_chunks
from core.service.domain.manifest import chunk_key, frames_key, generation_of, state_key
from core.service.domain.ports import Lease
from core.service.domain.schema import ChunkRecord, JobRecord, Lane
from core.service.records.kept_objects import KEPT_NEWEST_STATES, keeps_state
from core.service.video.segments import encode_chunk
from worker.lanes.chunk_lane import ChunkLane, made_again
from worker.lanes.lane import Damaged, Outcome
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import STATE_TYPE, NewObject
from worker.media.frame_pieces import FrameIndex, StoredFrames
from worker.runtime.services import Activity, Services
from worker.runtime.stopwatch import Stopwatch

logger = logging.getLogger(__name__)

FIRST_FRAME = "first_frame"
"""Name of the counter in an object of exact frames; the frames themselves are `frames`."""


class ChunkMaker(ChunkLane[EngineState]):
    """Makes chunks on one engine, one call of `work` per task."""

    lane = Lane.GENERATE
    commit_event = "chunk.completed"
    cached_states = 8

    def __init__(
        self,
        services: Services,
        engine: Engine,
        model: str,
        activity: Activity | None = None,
    ) -> None:
        super().__init__(services, model, activity)
        self._engine = engine

    def _next_piece(self, record: JobRecord) -> str:
        return f"chunk {next_chunk(record)}"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        index, store, spec = next_chunk(record), self._services.store, record.spec
        watch = Stopwatch(self._wait_times(record, _ready_since(record)))
        with watch.phase("load"):
            state = self._state_before(index, record, keeper)
        logger.info("%s: making chunk %d of %s", record.id, index, spec.num_frames and num_chunks(spec.num_frames))
        chunk, after = self._make(index, record, state, watch, keeper)
        if index < next_new_chunk(record):
            return self._commit(lease, after, lambda: store.commit_repair(lease, chunk), keeper)
        fingerprint = self._engine.fingerprint
        committed = self._commit(lease, after, lambda: store.commit_chunk(lease, chunk, fingerprint), keeper)
        self._report_speed(record, [chunk])
        if spec.is_endless and (old := index - KEPT_NEWEST_STATES) >= 0 and not keeps_state(old, index + 1):
            self._delete_prefix(state_key(record.id, old, record.generation))
        logger.info("%s: chunk %d of %d frames committed", record.id, index, chunk.num_frames)
        return committed

    def _make(
        self, index: int, record: JobRecord, state: EngineState, watch: Stopwatch, keeper: LeaseKeeper
    ) -> tuple[ChunkRecord, EngineState]:
        """Chunk `index` with all that belongs to it, stored; and the state after it. One that is made again keeps its
        names, and the time at which it was first made."""
        span = chunk_span(index, record.spec.length)
        first = self._chunks(record, "preview", index, index + 1, keeper)[0] if index < next_new_chunk(record) else None
        run = record.generation if first is None else generation_of(first.key)
        made = self._next_chunk(span, record, state, keeper)
        watch.add(made.timings)
        later = _for_later(record, span, made.frames, made.state, run)
        key = chunk_key(record.id, index, run)
        (chunk,) = self._store_chunks(record, span.first_frame, made.frames, lambda _: key, later, watch, keeper)
        sums = dict(zip(("state_sha256", "frames_sha256"), (each.sha256 for each in later), strict=False))
        chunk = chunk.model_copy(update={**sums, "fingerprint": self._engine.fingerprint})
        if first is None:
            return chunk, made.state
        if chunk.sha256 != first.sha256 and chunk.fingerprint == first.fingerprint:
            raise ChunkNotRepeatable(f"chunk {index} is damaged, and what it is made of has changed")
        return made_again(first, chunk), made.state

    def _state_after(self, index: int, record: JobRecord, state: EngineState, keeper: LeaseKeeper) -> EngineState:
        """The state after a chunk that is made again for it, stored with what is stored with it. The chunk itself may
        have been read already, so its object stays."""
        logger.warning("%s: making chunk %d again for its state", record.id, index)
        (first,) = self._chunks(record, "preview", index, index + 1, keeper)
        span = chunk_span(index, record.spec.length)
        made = self._next_chunk(span, record, state, keeper)
        encoded = encode_chunk(made.frames, record.spec.fps, index, span.first_frame)
        if first.fingerprint == self._engine.fingerprint and hashlib.sha256(encoded.data).hexdigest() != first.sha256:
            raise ChunkNotRepeatable(f"the state after chunk {index} is lost, and what it is made of has changed")
        self._put(_for_later(record, span, made.frames, made.state, generation_of(first.key)), keeper)
        return made.state

    def _next_chunk(self, span: ChunkSpan, record: JobRecord, state: EngineState, keeper: LeaseKeeper) -> EngineChunk:
        """Raises what the engine raised, and InvalidChunk."""
        seed = record.spec.new_seed(span.index)
        state = state if seed is None else self._engine.reseeded(state, seed)
        spec, on_step = record.spec.for_engine(), self._on_step(record.id, span.index, keeper)
        results = self._engine.next_chunks([ChunkRequest(spec, state, on_step, self._video(record, keeper))])
        if len(results) != 1:
            raise InvalidChunk(f"the engine returned {len(results)} chunks for 1 request")
        made = results[0]
        if isinstance(made, Exception):
            raise made
        if problem := _problem_of(made, span):
            raise InvalidChunk(f"the engine returned {problem}")
        return made

    def _state_before(self, index: int, record: JobRecord, keeper: LeaseKeeper) -> EngineState:
        """The state before chunk `index`. A damaged or missing one is made again from the newest good one."""
        cached = self._cached(record)
        if cached is not None and cached.state.frames_done == index * CHUNK_FRAMES:
            return cached.state
        first, state = index, None
        while first > 0 and (state := self._stored_state(first - 1, record, keeper)) is None:
            first -= 1
        if state is None:
            state = self._engine.start(record.spec.for_engine(), self._input_media(record, keeper))
            if problem := _problem_of_state(state, 0):
                raise InvalidChunk(f"the engine's start returned {problem}")
        for again in range(first, index):
            state = self._state_after(again, record, state, keeper)
        return state

    def _stored_state(self, index: int, record: JobRecord, keeper: LeaseKeeper) -> EngineState | None:
        """The state after chunk `index`; None if it is missing or damaged."""
        (chunk,) = self._chunks(record, "preview", index, index + 1, keeper)
        key = state_key(record.id, index, generation_of(chunk.key))
        data = self._get_checked(key, chunk.state_sha256, keeper)
        try:
            return None if data is None else EngineState.from_bytes(data)
        except (SafetensorError, KeyError) as error:
            logger.warning("%s cannot be read: %s", key, error)
            return None

    def _input_media(self, record: JobRecord, keeper: LeaseKeeper) -> InputMedia:
        """The decoded input media of the job. A generation worker fetches nothing from other hosts: what is missing
        or damaged is prepared again."""
        if record.spec.input_media is None:
            return NO_INPUT_MEDIA
        if record.prepared is None:
            raise Damaged(media=True)
        if record.prepared.whole_video:
            return self._video(record, keeper)
        return InputMedia.from_bytes(self._get_input(record.prepared.key, record.prepared.sha256, keeper))

    def _video(self, record: JobRecord, keeper: LeaseKeeper) -> InputMedia:
        """A reader of the whole input video, for engines that read one; otherwise nothing."""
        prepared = record.prepared
        if prepared is None or not prepared.whole_video:
            return NO_INPUT_MEDIA
        index = FrameIndex.model_validate_json(self._get_input(prepared.key, prepared.sha256, keeper))
        return InputMedia(video=StoredFrames(index, prepared.key, partial(self._get_input, keeper=keeper)))

    def _get_input(self, key: str, sha256: str, keeper: LeaseKeeper) -> bytes:
        data = self._get_checked(key, sha256, keeper)
        if data is None:
            raise Damaged(media=True)
        return data

    def _failed(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> Outcome:
        if isinstance(error, ChunkNotRepeatable):
            return self._fail_job(record, lease, error)
        return super()._failed(record, lease, error, keeper)


def _ready_since(record: JobRecord) -> datetime:
    """When the next chunk could begin."""
    if record.chunks.last is not None:
        return record.chunks.last.created_at
    return record.prepared.at if record.prepared else record.created_at


def _problem_of(made: object, span: ChunkSpan) -> str | None:
    """What is wrong with an engine's chunk, for messages. Type and size of the frames are checked by the encoder."""
    if not isinstance(made, EngineChunk):
        return f"{type(made).__name__} instead of an EngineChunk"
    if not isinstance(cast("object", made.frames), np.ndarray):
        return "frames that are no numpy array"
    if len(made.frames) != span.num_frames:
        return f"{len(made.frames)} frames instead of {span.num_frames}"
    return _problem_of_state(made.state, span.first_frame + span.num_frames)


def _problem_of_state(state: object, frames_done: int) -> str | None:
    if not isinstance(state, EngineState):
        return f"{type(state).__name__} instead of an EngineState"
    if state.frames_done != frames_done:
        return f"a state with frames_done {state.frames_done} instead of {frames_done}"
    return None


def _state_bytes(state: EngineState) -> bytes:
    """Raises InvalidChunk for arrays that safetensors cannot store."""
    try:
        return state.to_bytes()
    except (SafetensorError, TypeError, ValueError) as error:
        raise InvalidChunk(f"the engine returned a state that cannot be stored: {error}") from error


def _for_later(
    record: JobRecord, span: ChunkSpan, frames: FramesTHWC, state: EngineState, generation: int
) -> list[NewObject]:
    """What the next chunk needs and, if the job is refined, the refiner: the exact frames."""
    state_object = NewObject(state_key(record.id, span.index, generation), _state_bytes(state), STATE_TYPE)
    if record.spec.refine is None:
        return [state_object]
    exact = pack({"frames": frames}, FIRST_FRAME, span.first_frame)
    return [state_object, NewObject(frames_key(record.id, span.index, generation), exact, STATE_TYPE)]
