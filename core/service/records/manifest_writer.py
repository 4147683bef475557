"""Writes manifests, and pages of chunks before those that count them: no answer to a client depends on Redis alone."""

from __future__ import annotations

from contextlib import suppress

from core.service.domain import transitions
from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import JobNotFound, LimitReached, StorageError, StoreError, UsageUnknown
from core.service.domain.manifest import (
    PAGE_CHUNKS,
    ChunkPage,
    full_pages,
    manifest_bytes,
    manifest_key,
    page_bytes,
    page_key,
)
from core.service.domain.ports import JobStore, Storage
from core.service.domain.schema import VARIANTS, ChunkLists, ChunkRecord, JobRecord, Variant
from core.service.request_ids import current_request_id
from core.service.tracing import current_traceparent

MANIFEST_TYPE = "application/json"


def create_job(store: JobStore, storage: Storage, record: JobRecord, limits: KeyLimits | None = None) -> JobRecord:
    """Store a new job: its manifest first, so that no job is without one.

    Raises StorageError, StoreError; then the job may exist, but no client has its id. Raises LimitReached, UsageUnknown
    if its owner has these limits and may have no such job now; then there is no manifest either. The janitor removes a
    manifest without a job, because `begin_create` recorded it.
    """
    record = record.model_copy(update={"request_id": current_request_id(), "trace": current_traceparent()})
    created = transitions.create(record).record
    store.begin_create(record.id)
    _put(storage, created, ChunkLists())
    try:
        store.create(record, limits)
    except (LimitReached, UsageUnknown):
        _take_back_manifest(store, storage, record.id)
        raise
    with suppress(StoreError):  # the job exists; if this fails the janitor writes its manifest again
        store.manifest_stored(created)
    return created


def _take_back_manifest(store: JobStore, storage: Storage, job_id: str) -> None:
    """Remove it, or the job would run after all once Redis is lost. A job that another request has created meanwhile
    gets its manifest again. If it cannot be removed, the janitor does it, because `begin_create` is not forgotten."""
    with suppress(StorageError, StoreError, JobNotFound):
        storage.delete([manifest_key(job_id)])
        write_manifest(store, storage, store.get(job_id))


def write_manifest(store: JobStore, storage: Storage, record: JobRecord) -> None:
    """Write the manifest of `record`, and of newer records until it is up to date. Safe with concurrent writers: each
    asks after writing whether there is a newer record, and writes the same pages again if there is.

    Raises StorageError, StoreError; the manifest then stays stale in the store. Raises JobNotFound if the job was
    deleted meanwhile.
    """
    newest: JobRecord | None = record
    pages = set[ChunkPage]()
    while newest is not None:
        pages |= {*store.stale_pages(newest.id)}
        for page in sorted(pages):
            _put_page(store, storage, newest.id, page)
        _put(storage, newest, _rest(store, newest))
        newest = store.manifest_stored(newest)


def _put_page(store: JobStore, storage: Storage, job_id: str, page: ChunkPage) -> None:
    chunks = store.chunks(job_id, page.variant, page.span.start, page.span.stop)
    storage.put(page_key(job_id, page), page_bytes(chunks), MANIFEST_TYPE)


def _rest(store: JobStore, record: JobRecord) -> ChunkLists:
    """The chunks of `record` after its whole pages."""
    preview, refined = (_rest_of(store, record, variant) for variant in VARIANTS)
    return ChunkLists(preview, refined)


def _rest_of(store: JobStore, record: JobRecord, variant: Variant) -> tuple[ChunkRecord, ...]:
    totals = record.totals(variant)
    return tuple(store.chunks(record.id, variant, full_pages(totals) * PAGE_CHUNKS, totals.count))


def _put(storage: Storage, record: JobRecord, rest: ChunkLists) -> None:
    storage.put(manifest_key(record.id), manifest_bytes(record, rest), MANIFEST_TYPE)
