"""Reads of many chunks of a job."""

from __future__ import annotations

from collections.abc import Iterator

from core.service.domain.manifest import PAGE_CHUNKS
from core.service.domain.ports import JobStore
from core.service.domain.schema import ChunkLists, ChunkRecord, Variant


def all_chunks(store: JobStore, job_id: str) -> ChunkLists:
    """Every chunk of a job. Raises JobNotFound, StoreError."""
    return ChunkLists(tuple(each_chunk(store, job_id, "preview")), tuple(each_chunk(store, job_id, "refined")))


def each_chunk(store: JobStore, job_id: str, variant: Variant) -> Iterator[ChunkRecord]:
    """Every chunk of one variant in order, read a page at a time. Raises JobNotFound, StoreError."""
    start = 0
    while page := store.chunks(job_id, variant, start, start + PAGE_CHUNKS):
        yield from page
        start += PAGE_CHUNKS
