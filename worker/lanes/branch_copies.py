"""A branch gets its own copies of the chunks that it shares, so that deleting either job never hurts the other.

The object store copies by itself. The copies have the checksums of the source's chunks; they are checked where they are
read, as all objects are, and what is missing or damaged is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from core.service.domain.errors import JobNotFound, ObjectNotFound, SourceGone
from core.service.domain.manifest import chunk_key, generation_of, state_key
from core.service.domain.ports import Lease
from core.service.domain.schema import BranchSource, ChunkRecord, JobRecord
from core.service.records.kept_objects import keeps_state
from worker.lanes.completion import write_manifest
from worker.lanes.lease_keeper import LeaseKeeper
from worker.lanes.server_access import ServerAccess

logger = logging.getLogger(__name__)

COPIED_AT_ONCE = 8


class BranchCopies(ServerAccess):
    """Copies for one branch: chunks, and the states from which they can go on."""

    def make(self, record: JobRecord, source: BranchSource, lease: Lease, keeper: LeaseKeeper) -> JobRecord:
        """Raises SourceGone if the source was deleted or has expired."""
        store = self._services.store
        try:
            shared = self._with_retries(lambda: store.chunks(source.job_id, "preview", 0, source.from_chunk), keeper)
            self._copy_chunks(source, record, shared, keeper)
            self._copy_states(source.job_id, record, shared, keeper)
            self._with_retries(lambda: store.get(source.job_id), keeper)  # else objects may have gone meanwhile
        except JobNotFound:
            self._require_source(source, keeper)
            raise
        now = self._services.clock.now()
        kept = {"created_at": now, "timings": {}, "version": 0, "frames_sha256": None}
        copies = [
            chunk.model_copy(update={**kept, "key": chunk_key(record.id, chunk.index, record.generation)})
            for chunk in shared
        ]
        copied = self._with_retries(lambda: store.commit_copies(lease, copies), keeper)
        write_manifest(self._services, copied)
        logger.info("%s: has %d chunks of %s", record.id, len(copies), source.job_id)
        return copied

    def _require_source(self, source: BranchSource, keeper: LeaseKeeper) -> None:
        try:
            self._with_retries(lambda: self._services.store.get(source.job_id), keeper)
        except JobNotFound:
            message = f"the job {source.job_id}, whose chunks this one shares, was deleted or has expired"
            raise SourceGone(message, fix="submit a new job") from None

    def _copy_chunks(
        self, source: BranchSource, record: JobRecord, shared: Sequence[ChunkRecord], keeper: LeaseKeeper
    ) -> None:
        """One that a source has lost is made again before the branch ends, as a damaged one is."""
        for start in range(0, len(shared), COPIED_AT_ONCE):
            some = shared[start : start + COPIED_AT_ONCE]
            pairs = [(chunk.key, chunk_key(record.id, chunk.index, record.generation)) for chunk in some]
            calls = [self._call(partial(self._services.storage.copy, *pair), keeper) for pair in pairs]
            for chunk, call in zip(some, calls, strict=True):
                try:
                    call.result(self._check_often(keeper))
                except ObjectNotFound:
                    self._require_source(source, keeper)
                    logger.warning("%s: %s has lost chunk %d", record.id, source.job_id, chunk.index)

    def _copy_states(
        self, source_id: str, record: JobRecord, shared: Sequence[ChunkRecord], keeper: LeaseKeeper
    ) -> None:
        """The newest that there is, and those that an ended job keeps."""
        next((chunk for chunk in reversed(shared) if self._copy_state(source_id, record, chunk, keeper)), None)
        for chunk in shared[:-1]:
            if keeps_state(chunk.index, len(shared)):
                self._copy_state(source_id, record, chunk, keeper)

    def _copy_state(self, source_id: str, record: JobRecord, chunk: ChunkRecord, keeper: LeaseKeeper) -> bool:
        """False if the source does not have it."""
        key = state_key(source_id, chunk.index, generation_of(chunk.key))
        copy = partial(self._services.storage.copy, key, state_key(record.id, chunk.index, record.generation))
        try:
            self._call(copy, keeper).result(self._check_often(keeper))
        except ObjectNotFound:
            return False
        return True
