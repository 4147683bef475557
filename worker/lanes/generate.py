"""The generate lane: one task, one chunk. Load the state, run the engine, store, commit (lane.py does the rest).

Third parties write engines: what they return is checked before it is stored.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from safetensors import SafetensorError

from core.service.domain.chunk_order import next_chunk, next_new_chunk
from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    ChunkRequest,
    Engine,
    EngineChunk,
    EngineState,
    InputMedia,
    OnStep,
)
from core.service.domain.errors import ChunkNotRepeatable, InvalidChunk
from core.service.domain.frame_plan import CHUNK_FRAMES, ChunkSpan, chunk_span, num_chunks
from core.service.domain.manifest import chunk_key, generation_of, state_key
from core.service.domain.ports import Lease
from core.service.domain.schema import ChunkRecord, JobRecord, Lane
from core.service.records.kept_objects import KEPT_NEWEST_STATES, keeps_state
from core.service.request_ids import working_for
from core.service.video.segments import encode_chunk
from worker.lanes.ahead import Ahead, InBackground, MadeChunk, Publication, follows
from worker.lanes.chunk_lane import ChunkLane, made_again
from worker.lanes.engine_results import for_later, problem_of, problem_of_state
from worker.lanes.keeping import KeepingRule
from worker.lanes.lane import Damaged, Outcome
from worker.lanes.lease_keeper import LeaseKeeper
from worker.media.frame_pieces import FrameIndex, StoredFrames
from worker.runtime.server_retry import ServerCall
from worker.runtime.services import Activity, Services
from worker.runtime.stopwatch import Stopwatch

logger = logging.getLogger(__name__)


class ChunkMaker(ChunkLane[EngineState]):
    """Makes chunks on one engine, one call of `work` per task.

    A task makes the next chunk while the one before is encoded, stored and committed, as long as the worker would be
    given the same job again; `keep_seconds` (0: one chunk per task) and `refines_too` are those of KeepingRule.
    """

    lane = Lane.GENERATE
    commit_event = "chunk.completed"
    cached_states = 8

    def __init__(
        self,
        services: Services,
        engine: Engine,
        model: str,
        activity: Activity | None = None,
        *,
        keep_seconds: float = 0.0,
        refines_too: bool = False,
        in_background: InBackground = ServerCall,
    ) -> None:
        super().__init__(services, model, activity)
        self._engine = engine
        self._rule = KeepingRule(services, model, keep_seconds, refines_too=refines_too)
        self._in_background = in_background
        self._ahead: Ahead | None = None

    def _next_piece(self, record: JobRecord) -> str:
        return f"chunk {next_chunk(record)}"

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        ahead, self._ahead = self._ahead, None
        made = (ahead and ahead.made_for(record)) or self._make(record, keeper)
        publish = partial(self._publish, made, record, lease, keeper)
        if not self._rule.keeps(made.index, record, keeper):
            return publish(keep=False)
        return self._make_next_meanwhile(made, record, partial(publish, keep=True), keeper)

    def _make(self, record: JobRecord, keeper: LeaseKeeper) -> MadeChunk:
        """The next chunk, from the state before it."""
        index = next_chunk(record)
        watch = Stopwatch(self._wait_times(record, _ready_since(record)))
        with watch.phase("load"):
            state = self._state_before(index, record, keeper)
        on_step = self._on_step(record.id, index, keeper)
        return self._run_engine(index, record, state, watch, on_step, keeper)

    def _run_engine(
        self,
        index: int,
        record: JobRecord,
        state: EngineState,
        watch: Stopwatch,
        on_step: OnStep,
        keeper: LeaseKeeper,
    ) -> MadeChunk:
        spec = record.spec
        logger.info("%s: making chunk %d of %s", record.id, index, spec.num_frames and num_chunks(spec.num_frames))
        made = self._next_chunk(chunk_span(index, spec.length), record, state, on_step, keeper)
        watch.add(made.timings)
        return MadeChunk(index, made, watch)

    def _make_next_meanwhile(
        self, made: MadeChunk, record: JobRecord, publish: Callable[[], JobRecord], keeper: LeaseKeeper
    ) -> JobRecord:
        """`publish` a chunk in the background while the engine makes the next one from the state in memory.

        That is used only if the lane was kept, and if it is still what the job misses. So whatever goes wrong with the
        first is handled as if the second had never begun.
        """
        index = made.index + 1
        publication = Publication(self._in_background(publish), partial(follows, record, index))
        watch = Stopwatch({"queue": 0.0, "commit": 0.0, "load": 0.0})
        on_step = self._on_step_ahead(record.id, index, publication, keeper)
        result: MadeChunk | Exception
        try:
            result = self._run_engine(index, record, made.chunk.state, watch, on_step, keeper)
        except Exception as error:  # of the next chunk: raised when that one's turn has come
            result = error
        with watch.phase("commit"):
            committed = publication.result()
        if committed.lane(self.lane).held:
            self._ahead = Ahead(record, index, result)
        return committed

    def _on_step_ahead(self, job_id: str, index: int, publication: Publication, keeper: LeaseKeeper) -> OnStep:
        """Tells clients nothing of a chunk while the one before is not committed, so that they see them in order."""
        on_step = self._on_step(job_id, index, keeper)

        def on_step_ahead(step: int, steps: int) -> None:
            if publication.is_over():
                return on_step(step, steps)
            self._activity.beat()
            return self._check_stop(keeper)

        return on_step_ahead

    def _publish(
        self, made: MadeChunk, record: JobRecord, lease: Lease, keeper: LeaseKeeper, *, keep: bool
    ) -> JobRecord:
        """Encode, store and commit a chunk. `keep`: claim the lane again with the commit if it has more work."""
        with working_for(record.request_id):
            store, index, fingerprint = self._services.store, made.index, self._engine.fingerprint
            ttl, keep = self._services.settings.lease_ttl_seconds, keep and not self._services.drain.is_set()
            chunk, after = self._store(made, record, keeper), made.chunk.state
            if index < next_new_chunk(record):
                return self._commit(lease, after, lambda: store.commit_repair(lease, chunk), keeper)

            def commit() -> JobRecord:
                if keep:
                    return store.commit_and_claim(lease, chunk, fingerprint, ttl)
                return store.commit_chunk(lease, chunk, fingerprint)

            committed = self._commit(lease, after, commit, keeper)
            if committed.lane(self.lane).held:
                self._after_commit(committed)
            self._report_speed(record, [chunk])
            if record.spec.is_endless and (old := index - KEPT_NEWEST_STATES) >= 0 and not keeps_state(old, index + 1):
                self._delete_prefix(state_key(record.id, old, record.generation))
            logger.info("%s: chunk %d of %d frames committed", record.id, index, chunk.num_frames)
            return committed

    def _store(self, made: MadeChunk, record: JobRecord, keeper: LeaseKeeper) -> ChunkRecord:
        """Store a chunk with all that belongs to it. One that is made again keeps its names, and the time at which it
        was first made."""
        index, state = made.index, made.chunk.state
        span = chunk_span(index, record.spec.length)
        first = self._chunks(record, "preview", index, index + 1, keeper)[0] if index < next_new_chunk(record) else None
        run = record.generation if first is None else generation_of(first.key)
        later = for_later(record, span, made.chunk.frames, state, run)
        key = chunk_key(record.id, index, run)
        (chunk,) = self._store_chunks(
            record, span.first_frame, made.chunk.frames, lambda _: key, later, made.watch, keeper
        )
        sums = dict(zip(("state_sha256", "frames_sha256"), (each.sha256 for each in later), strict=False))
        chunk = chunk.model_copy(update={**sums, "fingerprint": self._engine.fingerprint})
        if first is None:
            return chunk
        if chunk.sha256 != first.sha256 and chunk.fingerprint == first.fingerprint:
            raise ChunkNotRepeatable(f"chunk {index} is damaged, and what it is made of has changed")
        return made_again(first, chunk)

    def _state_after(self, index: int, record: JobRecord, state: EngineState, keeper: LeaseKeeper) -> EngineState:
        """The state after a chunk that is made again for it, stored with what is stored with it. The chunk itself may
        have been read already, so its object stays."""
        logger.warning("%s: making chunk %d again for its state", record.id, index)
        (first,) = self._chunks(record, "preview", index, index + 1, keeper)
        span = chunk_span(index, record.spec.length)
        made = self._next_chunk(span, record, state, self._on_step(record.id, index, keeper), keeper)
        encoded = encode_chunk(made.frames, record.spec.fps, index, span.first_frame)
        if first.fingerprint == self._engine.fingerprint and hashlib.sha256(encoded.data).hexdigest() != first.sha256:
            raise ChunkNotRepeatable(f"the state after chunk {index} is lost, and what it is made of has changed")
        self._put(for_later(record, span, made.frames, made.state, generation_of(first.key)), keeper)
        return made.state

    def _next_chunk(
        self, span: ChunkSpan, record: JobRecord, state: EngineState, on_step: OnStep, keeper: LeaseKeeper
    ) -> EngineChunk:
        """Raises what the engine raised, and InvalidChunk."""
        seed = record.spec.new_seed(span.index)
        state = state if seed is None else self._engine.reseeded(state, seed)
        spec = record.spec.for_engine()
        results = self._engine.next_chunks([ChunkRequest(spec, state, on_step, self._video(record, keeper))])
        if len(results) != 1:
            raise InvalidChunk(f"the engine returned {len(results)} chunks for 1 request")
        made = results[0]
        if isinstance(made, Exception):
            raise made
        if problem := problem_of(made, span):
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
            if problem := problem_of_state(state, 0):
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
