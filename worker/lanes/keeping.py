"""Whether a worker that has made a chunk goes on with the same job at once, which it then keeps."""

from __future__ import annotations

from contextlib import suppress

from core.service.domain import transitions
from core.service.domain.chunk_order import next_new_chunk
from core.service.domain.errors import JobNotFound, StoreDamaged
from core.service.domain.frame_plan import num_chunks
from core.service.domain.schema import JobRecord, Lane
from core.service.records.job_order import index_member
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import ignore_store_errors
from worker.runtime.services import Services

LOOKED_AT = 8
"""Jobs at the head of a queue of which one that can be read is looked for."""


class KeepingRule:
    """The rule of one worker for jobs of `model`. A task begins no further chunk after `seconds`: the process's other
    lanes have their turn then. `refines_too`: the process also takes tasks of the refine lane, in turn."""

    def __init__(self, services: Services, model: str, seconds: float, *, refines_too: bool) -> None:
        self._services = services
        self._model = model
        self._seconds = seconds
        self._refines_too = refines_too

    def keeps(self, index: int, record: JobRecord, keeper: LeaseKeeper) -> bool:
        """Whether this worker, if it asked for the next job now, would be given this one again: its chunk `index` is
        made, but not committed. False if the store does not answer."""
        if keeper.held_seconds >= self._seconds or self._services.drain.is_set():
            return False
        if index < next_new_chunk(record) or index + 1 == num_chunks(record.spec.length):
            return False
        if record.lane(Lane.GENERATE).deaths:  # perhaps of the chunk after this one, which is committed first this time
            return False
        with ignore_store_errors(record.id):
            return not self._paused() and not self._refiner_is_next(record) and self._comes_first(record)
        return False

    def _paused(self) -> bool:
        return self._services.pauses.of(self._model, self._services.worker) is not None

    def _refiner_is_next(self, record: JobRecord) -> bool:
        if not self._refines_too:
            return False
        return record.spec.refine is not None or self._services.store.next_ready(Lane.REFINE, self._model) is not None

    def _comes_first(self, record: JobRecord) -> bool:
        """Whether no job that waits comes before this one, whose newest chunk is made now."""
        store = self._services.store
        own_rank = transitions.rank(record, self._services.clock.now())
        for waiting in store.ready(Lane.GENERATE, self._model, LOOKED_AT):
            with suppress(JobNotFound, StoreDamaged):  # nobody can claim it
                other = store.get(waiting)
                return (own_rank, index_member(record)) < (transitions.rank(other), index_member(other))
        return True
