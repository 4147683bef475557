"""Reads of many chunks of a job."""

from __future__ import annotations

from collections.abc import Iterator

from core.service.domain.ports import JobStore
from core.service.domain.schema import ChunkLists, ChunkRecord, Variant

READ_CHUNKS = 256
"""Chunks of one read."""


def all_chunks(store: JobStore, job_id: str) -> ChunkLists:
    """Every chunk of a job. Raises JobNotFound, StoreError."""
    return ChunkLists(tuple(each_chunk(store, job_id, "preview")), tuple(each_chunk(store, job_id, "refined")))


def each_chunk(store: JobStore, job_id: str, variant: Variant) -> Iterator[ChunkRecord]:
    """Every chunk of one variant in order, many at a time. Raises JobNotFound, StoreError."""
    start = 0
    while page := store.chunks(job_id, variant, start, start + READ_CHUNKS):
        yield from page
        start += READ_CHUNKS
