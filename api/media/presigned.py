"""Adds presigned URLs of the object storage to chunks, for clients that fetch them without the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from core.service.domain.schema import Chunk, ChunkRecord


def with_presigned_urls(
    chunks: Sequence[Chunk],
    made: Iterable[ChunkRecord],
    refined: Iterable[ChunkRecord],
    url_of: Callable[[str], str],
) -> list[Chunk]:
    """`chunks` with their URLs. `made` and `refined` have their records; `url_of` signs a key (Storage.url)."""
    keys = {chunk.index: chunk.key for chunk in made}
    refined_keys = {chunk.index: chunk.key for chunk in refined}
    return [
        chunk.model_copy(
            update={
                "presigned_url": url_of(keys[chunk.index]),
                "presigned_refined_url": url_of(refined_keys[chunk.index]) if chunk.index in refined_keys else None,
            }
        )
        for chunk in chunks
    ]
