"""What the lanes that make chunks share: generate.py and refine.py. Encode, store, commit, report progress.

A worker caches the state it committed last, so that it need not fetch what it has just stored.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Generic, TypeVar

from core.service.admission.estimate import measured
from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import Interrupted, StorageError
from core.service.domain.frame_plan import ChunkSpan
from core.service.domain.ports import Lease
from core.service.domain.refine_plan import spans_of
from core.service.domain.schema import (
    ChunkRecord,
    JobRecord,
    JobSpec,
    Lane,
    Profile,
    StepProgress,
    Variant,
    WebhookEvent,
)
from core.service.tracing import record_work
from core.service.video.segments import EncodedChunk, encode_chunk
from worker import metrics
from worker.lanes.completion import wake, wants_webhook, write_manifest
from worker.lanes.lane import LaneWorker
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import NewObject, ignore_store_errors
from worker.lanes.stalls import StallCounter
from worker.runtime.services import Activity, Services
from worker.runtime.stopwatch import Stopwatch

CHUNK_TYPE = "video/mp4"

logger = logging.getLogger(__name__)

State = TypeVar("State")


@dataclass(frozen=True)
class CachedState(Generic[State]):
    """The state after the piece that this process committed last for a job, the fencing token it held, and the profile
    of the job."""

    token: int
    state: State
    commit_seconds: float
    profile: Profile | None


class ChunkLane(LaneWorker, ABC, Generic[State]):
    """A lane whose pieces are chunks. `State` is what one piece hands to the next."""

    has_phases = True
    commit_event: ClassVar[WebhookEvent]
    cached_states: ClassVar[int]
    """How many states are kept in memory, of the jobs worked on last."""

    def __init__(self, services: Services, model: str, activity: Activity | None = None) -> None:
        super().__init__(services, model, activity)
        self._cache: OrderedDict[str, CachedState[State]] = OrderedDict()
        self._stalls = StallCounter(services.store)

    def own(self) -> frozenset[tuple[str, Lane]]:
        """Jobs whose state is cached and that sample as the one worked on last: its weights are loaded. All states are
        of the engine of this process, so of its fingerprint."""
        loaded = next((cached.profile for cached in reversed(self._cache.values())), None)
        return frozenset((job_id, self.lane) for job_id, cached in self._cache.items() if cached.profile == loaded)

    def _forget(self, job_id: str) -> None:
        self._cache.pop(job_id, None)

    def _cached(self, record: JobRecord) -> CachedState[State] | None:
        """The cached state of a job; None if another process has claimed the lane since."""
        cached = self._cache.get(record.id)
        return cached if cached and record.lane(self.lane).token == cached.token + 1 else None

    def _wait_times(self, record: JobRecord, since: datetime) -> dict[str, float]:
        """Seconds between `since`, when this piece could have begun, and its claim: `commit` of the piece before,
        if this process made it, and `queue`, the rest."""
        waited = max(0.0, (self._services.clock.now() - since).total_seconds())
        cached = self._cached(record)
        commit = min(waited, cached.commit_seconds) if cached else 0.0
        return {"queue": waited - commit, "commit": commit}

    def _on_step(self, job_id: str, chunk_index: int, keeper: LeaseKeeper) -> Callable[[int, int], None]:
        """The engine's callback after each denoising step. It raises Interrupted to stop the engine."""
        services = self._services

        def on_step(step: int, steps: int) -> None:
            metrics.step_done(self._model, self.lane)
            self._activity.beat()
            self._check_stop(keeper)
            progress = StepProgress(
                lane=self.lane, chunk_index=chunk_index, step=step, steps=steps, at=services.clock.now()
            )
            with ignore_store_errors(job_id):
                if services.store.report_progress(job_id, progress):
                    raise Interrupted(f"{job_id} was canceled")

        return on_step

    def _store_chunks(
        self,
        record: JobRecord,
        first_frame: int,
        frames: FramesTHWC,
        key_of: Callable[[int], str | None],
        also: Sequence[NewObject],
        watch: Stopwatch,
        keeper: LeaseKeeper,
    ) -> tuple[ChunkRecord, ...]:
        """Encode `frames`, the first of which is the video's frame `first_frame`, chunk by chunk and store the chunks
        together with the objects `also`. Returns the records to commit. `key_of` gives the key of a chunk by its index;
        None for one that is not needed."""
        spec = record.spec
        known = {span: key_of(span.index) for span in _spans(first_frame, len(frames), spec)}
        keys = {span: key for span, key in known.items() if key is not None}
        spans = [*keys]
        with watch.phase("encode"):
            own = [frames[span.first_frame - first_frame :][: span.num_frames] for span in spans]
            encoded = [encode_chunk(own, spec.fps, s.index, s.first_frame) for s, own in zip(spans, own, strict=True)]
        with watch.phase("upload"):
            chunks = [NewObject(key, each.data, CHUNK_TYPE) for key, each in zip(keys.values(), encoded, strict=True)]
            self._put([*chunks, *also], keeper)
        # Chunks made together share the time, so that the sum over all chunks is the whole time.
        timings = {phase: seconds / max(1, len(spans)) for phase, seconds in watch.seconds.items()}
        made = zip(keys.items(), encoded, strict=True)
        return tuple(self._chunk_record(span, key, each, timings) for (span, key), each in made)

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

    def _chunks(
        self, record: JobRecord, variant: Variant, start: int, stop: int, keeper: LeaseKeeper
    ) -> Sequence[ChunkRecord]:
        """JobStore.chunks."""
        return self._with_retries(lambda: self._services.store.chunks(record.id, variant, start, stop), keeper)

    def _commit(
        self,
        lease: Lease,
        state: State,
        commit: Callable[[], JobRecord],
        keeper: LeaseKeeper,
        piece: int,
        made: Stopwatch,
    ) -> JobRecord:
        """Call `commit`, write the manifest and cache `state`. Returns the record after the commit. `piece`: its
        number, `made`: its times so far, for the trace."""
        watch = Stopwatch()
        with watch.phase("commit"):
            committed = self._with_retries(lambda: keeper.committing(commit), keeper)
            write_manifest(self._services, committed)
        self._cache[lease.job_id] = CachedState(lease.token, state, watch.seconds["commit"], committed.spec.profile)
        self._cache.move_to_end(lease.job_id)
        if len(self._cache) > self.cached_states:
            self._cache.popitem(last=False)
        attributes = {"longtake.job": lease.job_id, "longtake.model": self._model, "longtake.piece": piece}
        name = f"{self.lane} {'chunk' if self.lane == Lane.GENERATE else 'piece'}"
        record_work(name, committed.trace, [*made.intervals, *watch.intervals], attributes)
        return committed

    def _delete_prefix(self, prefix: str) -> None:
        """Objects that the job needs no more. If that fails they stay until the job's end."""
        try:
            self._services.storage.delete_prefix(prefix)
        except StorageError as error:
            logger.warning("%s is left until the job ends: %s", prefix, error)

    def _after_commit(self, record: JobRecord) -> None:
        if wants_webhook(record, self.commit_event):
            self._services.queue.deliver_webhooks()
        wake(self._services, record)

    def _report_speed(
        self, record: JobRecord, chunks: Sequence[ChunkRecord], *, stored_meanwhile: bool = False
    ) -> None:
        """For metrics, and for estimates of other jobs. `record`: before the commit, `chunks`: new ones,
        `stored_meanwhile` as of `measured`."""
        metrics.chunks_committed(record.spec, self.lane, chunks, stored_meanwhile=stored_meanwhile)
        if self.lane is Lane.GENERATE:
            for chunk in chunks:
                self._stalls.committed(record, chunk)
        along_input = record.prepared is not None and record.prepared.whole_video
        for chunk in chunks:
            found = measured(record.spec, chunk, self.lane, along_input=along_input, stored_meanwhile=stored_meanwhile)
            if found is not None:
                with ignore_store_errors(record.id):
                    self._services.speeds.report(record.spec.model, *found)


def _spans(first_frame: int, num_frames: int, spec: JobSpec) -> list[ChunkSpan]:
    return spans_of(range(first_frame, first_frame + num_frames), spec.length)


def made_again(first: ChunkRecord, again: ChunkRecord) -> ChunkRecord:
    """`again`, with the time, the timings and the version of the first commit of the same chunk."""
    kept = {"created_at": first.created_at, "timings": first.timings, "version": first.version}
    return again.model_copy(update=kept)
