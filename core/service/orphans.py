"""What is stored and belongs to nobody: objects that no job or upload needs, keys of jobs without a record. Over ports.

The service leaves none; what a crash in the wrong moment leaves, `longtake gc` finds and removes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from core.service.errors import JobNotFound, UploadNotFound
from core.service.kept_objects import needed_keys
from core.service.manifest import JOBS_PREFIX, TOMBSTONES_PREFIX, job_id_of_tombstone
from core.service.media.uploads import UPLOADS_PREFIX, upload_id_of_key
from core.service.ports import JobStore, Storage, UploadStore


@dataclass(frozen=True)
class Orphan:
    """An object (or all keys of a job in Redis, where `is_object` is False) and why nobody needs it."""

    name: str
    reason: str
    is_object: bool = True


def find_orphans(store: JobStore, storage: Storage, uploads: UploadStore) -> Iterator[Orphan]:
    """All that belongs to nobody now. A moment later some of it may: a job that is being accepted has its manifest
    before its record."""
    yield from _of_jobs(store, storage)
    yield from _of_uploads(uploads, storage)
    for key in storage.list(TOMBSTONES_PREFIX):
        if not store.is_buried(job_id_of_tombstone(key)):
            yield Orphan(key, "the tombstone of a job whose deletion is forgotten")
    for job_id in store.strays():
        yield Orphan(job_id, "keys in Redis without a record", is_object=False)


def remove(orphan: Orphan, store: JobStore, storage: Storage) -> None:
    if orphan.is_object:
        storage.delete([orphan.name])
    else:
        store.purge(orphan.name)


def _of_jobs(store: JobStore, storage: Storage) -> Iterator[Orphan]:
    being_deleted = {record.id for record in store.deleted()}
    for job_id, keys in groupby(storage.list(JOBS_PREFIX), _job_id):
        if job_id not in being_deleted:  # else the janitor is about to remove them
            needed, reason = _needs_of(job_id, store)
            yield from [Orphan(key, reason) for key in keys if key not in needed]


def _needs_of(job_id: str, store: JobStore) -> tuple[frozenset[str], str]:
    """Keys that the job needs, and why others are orphans."""
    try:
        return needed_keys(store.get(job_id)), "not needed by its job"
    except JobNotFound:
        return frozenset(), "of a job that was deleted" if store.is_buried(job_id) else "of no job"


def _job_id(key: str) -> str:
    return key.removeprefix(JOBS_PREFIX).split("/")[0]


def _of_uploads(uploads: UploadStore, storage: Storage) -> Iterator[Orphan]:
    for key in storage.list(UPLOADS_PREFIX):
        upload_id = upload_id_of_key(key)
        try:
            if upload_id is None:
                raise UploadNotFound
            uploads.get(upload_id)
        except UploadNotFound:
            yield Orphan(key, "of no upload")
