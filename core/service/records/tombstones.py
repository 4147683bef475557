"""Deletes a job so that it is never rebuilt, whenever its objects are removed."""

from __future__ import annotations

from core.service.domain.manifest import tombstone_key
from core.service.domain.ports import JobStore, Storage


def delete_job(store: JobStore, storage: Storage, job_id: str) -> None:
    """Mark the job as deleted in the store, and in the object store in case Redis is lost. The janitor removes it.

    Raises JobNotFound, StoreError, StorageError. After StorageError the job is deleted, but would be rebuilt if Redis
    were lost.
    """
    store.request_delete(job_id)
    storage.put(tombstone_key(job_id), b"", "text/plain")
