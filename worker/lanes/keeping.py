"""Whether a worker that has made a chunk goes on with the same job at once, which it then keeps."""

from __future__ import annotations

from collections.abc import Sequence

from core.service.domain.chunk_order import next_new_chunk
from core.service.domain.frame_plan import chunk_span, num_chunks
from core.service.domain.schema import JobRecord, Lane
from core.service.domain.transitions.entries import after_next_chunk, entry_of
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import ignore_store_errors
from worker.runtime.services import Services


class KeepingRule:
    """The rule of one worker for jobs of `model`, whose process serves `lanes`. A task begins no further chunk after
    `seconds`."""

    def __init__(self, services: Services, model: str, seconds: float, lanes: Sequence[Lane]) -> None:
        self._services = services
        self._model = model
        self._seconds = seconds
        self._lanes = lanes

    def keeps(self, index: int, record: JobRecord, keeper: LeaseKeeper) -> bool:
        """Whether this worker, if it asked for the next piece now, would be given the next chunk of this job: its chunk
        `index` is made, but not committed. False if the store does not answer."""
        if keeper.held_seconds >= self._seconds or self._services.drain.is_set():
            return False
        if index < next_new_chunk(record) or index + 1 == num_chunks(record.spec.length):
            return False
        if record.lane(Lane.GENERATE).deaths:  # perhaps of the chunk after this one, which is committed first this time
            return False
        with ignore_store_errors(record.id):
            return not self._paused() and self._comes_first(index, record)
        return False

    def _paused(self) -> bool:
        return self._services.pauses.of(self._model, self._services.worker) is not None

    def _comes_first(self, index: int, record: JobRecord) -> bool:
        """Whether no job that waits comes before this one, once its chunk `index` is committed."""
        if (entry := entry_of(record, Lane.GENERATE)) is None:
            return False
        frames = chunk_span(index, record.spec.length).num_frames
        after = after_next_chunk(entry, record, frames, self._services.clock.now().timestamp())
        return self._services.store.is_next(after, self._lanes, self._model)
