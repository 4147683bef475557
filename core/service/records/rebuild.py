"""Rebuilds the record of one job from its manifest, for whoever asks for it after Redis has lost everything.

The janitor rebuilds all of them; until it has, nobody is told that a job does not exist. Over ports only.
"""

from __future__ import annotations

import logging
import re

from core.service.domain.errors import ObjectDamaged, ObjectNotFound
from core.service.domain.manifest import manifest_key, record_from_manifest, tombstone_key
from core.service.domain.ports import JobStore, Storage

_ID = re.compile(r"\w+", re.ASCII)

log = logging.getLogger(__name__)


class RecordRebuilder:
    """job_store.RebuildRecord over an object store."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self, store: JobStore, job_id: str) -> bool:
        """True where the record is there now. Raises StorageError where nobody can tell."""
        if not _ID.fullmatch(job_id):
            return False
        try:
            data = self._storage.get(manifest_key(job_id))
        except ObjectNotFound:
            return False
        if self._storage.exists(tombstone_key(job_id)):
            return False
        try:
            store.restore(record_from_manifest(data))
        except ObjectDamaged as error:
            log.error("%s is not rebuilt: %s", job_id, error)
            return False
        return True
