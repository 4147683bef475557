"""The generate lane, chunk by chunk: load the state, run the engine, store, commit (lane.py does the rest).

Third parties write engines: what they return is checked before it is stored.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from core.service.domain.chunk_order import next_chunk, next_new_chunk
from core.service.domain.device_fault import is_device_fault
from core.service.domain.engine import ChunkRequest, Engine, EngineChunk, EngineState, OnStep
from core.service.domain.errors import ChunkNotRepeatable, Interrupted, InvalidChunk
from core.service.domain.frame_plan import CHUNK_FRAMES, ChunkSpan, chunk_span, num_chunks
from core.service.domain.manifest import chunk_key, generation_of, state_key
from core.service.domain.ports import Lease
from core.service.domain.schema import ChunkRecord, JobRecord, Lane
from core.service.logs import working_on
from core.service.records.kept_objects import KEPT_NEWEST_STATES, keeps_state
from core.service.request_ids import working_for
from core.service.video.segments import encode_chunk
from worker import metrics
from worker.lanes.ahead import Ahead, InBackground, MadeChunk, OnCommit, Publication, Publish, follows
from worker.lanes.chunk_inputs import ChunkInputs
from worker.lanes.chunk_lane import made_again
from worker.lanes.engine_results import for_later, problem_of, problem_of_state
from worker.lanes.keeping import KeepingRule
from worker.lanes.lane import Outcome
from worker.lanes.lease_keeper import LeaseKeeper
from worker.runtime.server_retry import ServerCall
from worker.runtime.services import Activity, Services
from worker.runtime.stopwatch import Stopwatch

logger = logging.getLogger(__name__)


class ChunkMaker(ChunkInputs):
    """Makes chunks on one engine.

    A task makes the next chunk while the one before is encoded, stored and committed, as long as the worker would be
    given the same job again; `keep_seconds` (0: one chunk per task) and `lanes` are those of KeepingRule.
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
        lanes: Sequence[Lane] = (Lane.GENERATE,),
        in_background: InBackground = ServerCall,
    ) -> None:
        super().__init__(services, model, activity)
        self._engine = engine
        self._rule = KeepingRule(services, model, keep_seconds, lanes)
        self._in_background = in_background
        self._ahead: Ahead | None = None
        self._fault: Exception | None = None

    def do(self, lease: Lease) -> Outcome:
        try:
            return super().do(lease)
        finally:
            fault, self._fault = self._fault, None
            if fault is not None:  # whatever became of the task: the process cannot go on with this device
                raise fault

    def _next_piece(self, record: JobRecord) -> str:
        return f"chunk {next_chunk(record)}"

    def _chunk_of(self, record: JobRecord) -> int | None:
        return next_chunk(record)

    def _make_and_commit(self, record: JobRecord, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        made = self._made_ahead(record) or self._make(record, keeper)
        publish = partial(self._publish, made, record, lease, keeper)
        if self._fault is not None or not self._rule.keeps(made.index, record, keeper):
            return publish()
        return self._make_next_meanwhile(made, record, publish, keeper)

    def _made_ahead(self, record: JobRecord) -> MadeChunk | None:
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.is_for(record):
            return ahead and ahead.made()
        return self._drop(ahead)

    def _drop(self, ahead: Ahead) -> None:
        """The chunk is not used. An error of it is logged, and one of the device ends the task."""
        error = ahead.result
        if isinstance(error, MadeChunk | Interrupted):
            return
        logger.error("%s: chunk %d, which is not used, failed", ahead.record.id, ahead.index, exc_info=error)
        if is_device_fault(error):
            self._fault = error

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
        self._activity.alive()
        with watch.interval("engine"):
            made = self._next_chunk(chunk_span(index, spec.length), record, state, on_step, keeper)
        watch.add(made.timings)
        return MadeChunk(index, made, watch)

    def _make_next_meanwhile(
        self, made: MadeChunk, record: JobRecord, publish: Publish, keeper: LeaseKeeper
    ) -> JobRecord:
        """`publish` a chunk in the background while the engine makes the next one from the state in memory.

        That is used only if the lane was kept, and if it is still what the job misses. So whatever goes wrong with the
        first is handled as if the second had never begun.
        """
        index = made.index + 1
        wanted = partial(follows, record, index)
        publication = Publication(self._in_background, publish, wanted, self._activity)
        watch = Stopwatch({"queue": 0.0, "commit": 0.0, "load": 0.0})
        on_step = self._on_step_ahead(record.id, index, publication, keeper)
        result: MadeChunk | Exception
        try:
            with working_on(record.id, index):
                result = self._run_engine(index, record, made.chunk.state, watch, on_step, keeper)
        except Exception as error:  # of the next chunk: raised when that one's turn has come
            result = error
        finally:  # whatever leaves the engine: the lease is renewed only until this task ends
            with watch.phase("commit", "wait"):
                publication.wait()
        ahead = Ahead(record, index, result)
        try:
            committed = publication.result()
        except Exception:
            self._drop(ahead)
            raise
        if committed.lane(self.lane).held:
            self._ahead = ahead
        else:
            self._drop(ahead)
        return committed

    def _on_step_ahead(self, job_id: str, index: int, publication: Publication, keeper: LeaseKeeper) -> OnStep:
        """Tells clients nothing of a chunk while the one before is not committed, so that they see them in order."""
        on_step = self._on_step(job_id, index, keeper)

        def on_step_ahead(step: int, steps: int) -> None:
            if publication.is_committed():
                return on_step(step, steps)
            metrics.step_done(self._model, self.lane)
            self._activity.beat(while_waiting=True)
            return self._check_stop(keeper)

        return on_step_ahead

    def _publish(
        self,
        made: MadeChunk,
        record: JobRecord,
        lease: Lease,
        keeper: LeaseKeeper,
        on_commit: OnCommit | None = None,
    ) -> JobRecord:
        """Encode, store and commit a chunk. `on_commit`: the next one is made meanwhile, so the commit claims the lane
        again if it has more work."""
        with working_for(record.request_id):
            store, index, fingerprint = self._services.store, made.index, self._engine.fingerprint
            ttl, meanwhile = self._services.settings.lease_ttl_seconds, on_commit is not None
            keep = meanwhile and not self._services.drain.is_set()
            chunk, after = self._store(made, record, keeper), made.chunk.state
            if index < next_new_chunk(record):
                return self._commit(lease, after, lambda: store.commit_repair(lease, chunk), keeper, index, made.watch)

            def commit() -> JobRecord:
                if keep:
                    committed = store.commit_and_claim(lease, chunk, fingerprint, ttl)
                else:
                    committed = store.commit_chunk(lease, chunk, fingerprint)
                if on_commit is not None:
                    on_commit(committed)
                return committed

            committed = self._commit(lease, after, commit, keeper, index, made.watch)
            if committed.lane(self.lane).held:
                self._after_kept_commit(committed)
            self._report_speed(record, [chunk], stored_meanwhile=meanwhile)
            if record.spec.is_endless and (old := index - KEPT_NEWEST_STATES) >= 0 and not keeps_state(old, index + 1):
                self._delete_prefix(state_key(record.id, old, record.generation))
            logger.info("%s: chunk %d of %d frames committed", record.id, index, chunk.num_frames)
            return committed

    def _after_kept_commit(self, record: JobRecord) -> None:
        """`_after_commit` at once: webhooks and the refiner do not wait for the rest of the task."""
        try:
            self._after_commit(record)
        except Exception:  # must not count as an attempt at a chunk that is committed; the janitor wakes them
            logger.exception("%s: nobody was woken after the commit", record.id)

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
        else:
            metrics.resumed(self._model)
        for again in range(first, index):
            state = self._state_after(again, record, state, keeper)
        return state

    def _failed(self, record: JobRecord, lease: Lease, error: Exception, keeper: LeaseKeeper) -> Outcome:
        if isinstance(error, ChunkNotRepeatable):
            return self._fail_job(record, lease, error)
        return super()._failed(record, lease, error, keeper)


def _ready_since(record: JobRecord) -> datetime:
    """When the next chunk could begin."""
    if record.chunks.last is not None:
        return record.chunks.last.created_at
    return record.prepared.at if record.prepared else record.created_at
