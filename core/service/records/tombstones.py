"""Deleting a job for good, so that it never comes back, whenever its objects go. Over ports only."""

from __future__ import annotations

from core.service.domain.manifest import tombstone_key
from core.service.domain.ports import JobStore, Storage


def delete_job(store: JobStore, storage: Storage, job_id: str) -> None:
    """Mark the job as deleted in the store, and beside its objects in case Redis is lost. The janitor removes it.

    Raises JobNotFound, StoreError, StorageError. After StorageError the job is deleted, but would come back if Redis
    were lost.
    """
    store.request_delete(job_id)
    storage.put(tombstone_key(job_id), b"", "text/plain")
