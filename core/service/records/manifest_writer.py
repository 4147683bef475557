"""Writes manifests: no answer to a client depends on Redis alone."""

from __future__ import annotations

from contextlib import suppress

from core.service.domain import transitions
from core.service.domain.errors import StoreError
from core.service.domain.manifest import manifest_bytes, manifest_key
from core.service.domain.ports import JobStore, Storage
from core.service.domain.schema import JobRecord
from core.service.request_ids import current_request_id

MANIFEST_TYPE = "application/json"


def create_job(store: JobStore, storage: Storage, record: JobRecord) -> JobRecord:
    """Store a new job: its manifest first, so that no job is without one.

    Raises StorageError, StoreError; then the job may exist, but no client has its id. The janitor removes a manifest
    without a job, because `begin_create` recorded it.
    """
    record = record.model_copy(update={"request_id": current_request_id()})
    created = transitions.create(record).record
    store.begin_create(record.id)
    _put(storage, created)
    store.create(record)
    with suppress(StoreError):  # the job exists; if this fails the janitor writes its manifest again
        store.manifest_stored(created)
    return created


def write_manifest(store: JobStore, storage: Storage, record: JobRecord) -> None:
    """Write the manifest of `record`, and of newer records until it is up to date. Safe with concurrent writers: each
    asks after writing whether there is a newer record.

    Raises StorageError, StoreError; the manifest then stays stale in the store. Raises JobNotFound if the job was
    deleted meanwhile.
    """
    newest: JobRecord | None = record
    while newest is not None:
        _put(storage, newest)
        newest = store.manifest_stored(newest)


def _put(storage: Storage, record: JobRecord) -> None:
    storage.put(manifest_key(record.id), manifest_bytes(record), MANIFEST_TYPE)
