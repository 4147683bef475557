"""Rebuilds the record of one job from its manifest, when it is requested after Redis has lost its data.

The janitor rebuilds all records; until then this keeps requests from getting a false 404.
"""

from __future__ import annotations

import logging

from core.service.domain.errors import ObjectDamaged, ObjectNotFound
from core.service.domain.ids import is_job_id
from core.service.domain.manifest import tombstone_key
from core.service.domain.ports import JobStore, Storage
from core.service.records.stored_jobs import read_job

log = logging.getLogger(__name__)


class RecordRebuilder:
    """redis.job_records.RebuildRecord from an object store."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self, store: JobStore, job_id: str) -> bool:
        """Whether the record exists now. Raises StorageError if that cannot be determined."""
        if not is_job_id(job_id):
            return False
        try:
            record, lists = read_job(self._storage, job_id)
            if self._storage.exists(tombstone_key(job_id)):
                return False
            store.restore(record, lists)
        except ObjectNotFound:
            return False
        except ObjectDamaged as error:
            log.error("%s is not rebuilt: %s", job_id, error)
            return False
        return True
