"""Orphans: objects that no job or upload needs, and Redis keys of jobs without a record.

Normal operation leaves none; `longtake gc` finds and removes what a crash may have left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from core.service.domain.errors import JobNotFound, ObjectDamaged, ObjectNotFound, StoreDamaged, UploadNotFound
from core.service.domain.manifest import (
    JOBS_PREFIX,
    TOMBSTONES_PREFIX,
    is_of_another_version,
    job_id_of_tombstone,
    manifest_key,
    read_manifest,
)
from core.service.domain.ports import JobStore, Storage, UploadStore
from core.service.domain.uploads import UPLOADS_PREFIX, upload_id_of_key
from core.service.records.chunk_reads import all_chunks
from core.service.records.kept_objects import unneeded_keys

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orphan:
    """An object (or, if `is_object` is False, all Redis keys of a job) and why it is not needed."""

    name: str
    reason: str
    is_object: bool = True


def find_orphans(store: JobStore, storage: Storage, uploads: UploadStore) -> Iterator[Orphan]:
    """All orphans at this moment. Some may be needed a moment later: a job that is being created has its manifest
    before its record."""
    yield from _of_jobs(store, storage)
    yield from _of_uploads(uploads, storage)
    for key in storage.list(TOMBSTONES_PREFIX):
        if not store.has_tombstone(job_id_of_tombstone(key)):
            yield Orphan(key, "a tombstone that the store no longer has")
    for job_id in store.orphaned_job_ids():
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
            yield from _of_job(job_id, keys, store, storage)


def _of_job(job_id: str, keys: Iterable[str], store: JobStore, storage: Storage) -> Iterator[Orphan]:
    """Nothing of a job that only another version can read."""
    try:
        record = store.get(job_id)
        yield from [
            Orphan(key, "not needed by its job") for key in unneeded_keys(record, all_chunks(store, job_id), keys)
        ]
    except StoreDamaged as error:
        log.warning("%s; its objects are left alone", error)
    except JobNotFound:
        if store.has_tombstone(job_id):
            yield from [Orphan(key, "of a job that was deleted") for key in keys]
        elif not _has_manifest_of_another_version(job_id, storage):
            yield from [Orphan(key, "of no job") for key in keys]


def _has_manifest_of_another_version(job_id: str, storage: Storage) -> bool:
    try:
        data = storage.get(manifest_key(job_id))
    except ObjectNotFound:
        return False
    try:
        read_manifest(data)
    except ObjectDamaged:
        return is_of_another_version(data)
    return False


def _job_id(key: str) -> str:
    return key.removeprefix(JOBS_PREFIX).split("/")[0]


def _of_uploads(uploads: UploadStore, storage: Storage) -> Iterator[Orphan]:
    for key in storage.list(UPLOADS_PREFIX):
        upload_id = upload_id_of_key(key)
        try:
            if upload_id is None:
                raise UploadNotFound
            uploads.get(upload_id)
        except StoreDamaged as error:
            log.warning("%s; its object is left alone", error)
        except UploadNotFound:
            if upload_id is None or not uploads.is_discarded(upload_id):  # else the janitor is about to remove it
                yield Orphan(key, "of no upload")
