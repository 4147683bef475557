"""Copies a job's record beside its objects: nothing told to a client depends on Redis alone. Over ports only."""

from __future__ import annotations

from contextlib import suppress

from core.service.domain import transitions
from core.service.domain.errors import StoreError
from core.service.domain.manifest import manifest_bytes, manifest_key
from core.service.domain.ports import JobStore, Storage
from core.service.domain.schema import JobRecord

MANIFEST_TYPE = "application/json"


def create_job(store: JobStore, storage: Storage, record: JobRecord) -> JobRecord:
    """Store a new job: its manifest first, so that a job that is known is never without one.

    Raises StorageError, StoreError; then there is no job, or one that nobody was told of. The manifest of a job that is
    not there in the end is removed by the janitor, for the job was announced.
    """
    created = transitions.create(record).record
    store.begin_create(record.id)
    _put(storage, created)
    store.create(record)
    with suppress(StoreError):  # the job is there: else the janitor writes its manifest once more
        store.manifest_stored(created)
    return created


def write_manifest(store: JobStore, storage: Storage, record: JobRecord) -> None:
    """Write the manifest of `record`, or of what it has become meanwhile: several may be at this at once, and each asks
    afterwards whether a newer one is owed.

    Raises StorageError, StoreError; then it stays in the store's list of stale manifests. Raises JobNotFound where the
    job was deleted meanwhile.
    """
    newest: JobRecord | None = record
    while newest is not None:
        _put(storage, newest)
        newest = store.manifest_stored(newest)


def _put(storage: Storage, record: JobRecord) -> None:
    storage.put(manifest_key(record.id), manifest_bytes(record), MANIFEST_TYPE)
