"""The chunk records of jobs in Redis: one list per variant, and the pages of them that are to be stored as objects.

Older versions kept them inside the record. They move to the lists with the first change of the job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from pydantic import TypeAdapter, ValidationError
from redis.client import Pipeline

from core.service.domain.errors import StoreDamaged
from core.service.domain.manifest import PAGE_CHUNKS, ChunkPage, full_pages
from core.service.domain.schema import VARIANTS, ChunkLists, ChunkRecord, JobRecord, Variant
from core.service.domain.transitions import Transition
from core.service.redis import keys

PUSHED_AT_ONCE = 1000
"""Chunks of one command; a restored job may have many more."""
_CHUNKS = TypeAdapter(list[ChunkRecord])


def write(pipe: Pipeline, before: JobRecord | None, transition: Transition, inside: ChunkLists) -> None:
    """Queue the writes of a transition's chunks. `inside`: the chunks that were in the record until now."""
    record = transition.record
    if before is None:
        pipe.delete(*keys_of(record.id))
    for variant in VARIANTS:
        num_stored = before.totals(variant).count if before else 0
        changed = [write.chunk for write in transition.chunks if write.variant == variant]
        new = [*inside.of(variant), *(chunk for chunk in changed if chunk.index >= num_stored)]
        _append(pipe, keys.chunks_key(record.id, variant), new)
        again = [chunk for chunk in changed if chunk.index < num_stored]
        for chunk in again:
            pipe.lset(keys.chunks_key(record.id, variant), chunk.index, chunk.model_dump_json())
        _note_stale_pages(pipe, record, variant, [*new, *again])


def _append(pipe: Pipeline, key: str, chunks: Sequence[ChunkRecord]) -> None:
    for start in range(0, len(chunks), PUSHED_AT_ONCE):
        pipe.rpush(key, *(chunk.model_dump_json() for chunk in chunks[start : start + PUSHED_AT_ONCE]))


def _note_stale_pages(pipe: Pipeline, record: JobRecord, variant: Variant, chunks: Iterable[ChunkRecord]) -> None:
    whole = full_pages(record.totals(variant))
    touched = {chunk.index // PAGE_CHUNKS for chunk in chunks}
    if stale := {f"{variant}:{number}": record.revision for number in sorted(touched) if number < whole}:
        pipe.zadd(keys.stale_pages_key(record.id), stale)


def keys_of(job_id: str) -> list[str]:
    """Keys of what this module writes for a job."""
    return [*(keys.chunks_key(job_id, variant) for variant in VARIANTS), keys.stale_pages_key(job_id)]


def parse_chunks(job_id: str, rows: Sequence[str]) -> list[ChunkRecord]:
    """Raises StoreDamaged if this version cannot read them."""
    try:
        return _CHUNKS.validate_json(f"[{','.join(rows)}]")
    except ValidationError as error:
        raise StoreDamaged(f"chunks of {job_id} cannot be read: {error.error_count()} errors in them") from error


def parse_page(member: str) -> ChunkPage:
    """A member of `stale_pages_key`."""
    variant, _, number = member.partition(":")
    return ChunkPage(cast("Variant", variant), int(number))


def all_pages(record: JobRecord) -> list[ChunkPage]:
    """Every whole page of a job."""
    return [ChunkPage(variant, number) for variant in VARIANTS for number in range(full_pages(record.totals(variant)))]
