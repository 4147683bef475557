"""Reads records also as older versions wrote them: with all chunks inside.

A record of this version has totals in their place, so that older versions refuse it instead of misreading it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from core.service.domain.schema.chunks import ChunkLists, ChunkRecord, ChunkTotals
from core.service.domain.schema.record import FingerprintChange, JobRecord

_CHUNKS = TypeAdapter(tuple[ChunkRecord, ...])
_CHANGES = TypeAdapter(tuple[FingerprintChange, ...])


def read_record(data: str | bytes) -> tuple[JobRecord, ChunkLists]:
    """A stored record, and the chunks inside it: none unless an older version wrote it. Raises ValidationError."""
    try:
        return JobRecord.model_validate_json(data), ChunkLists()
    except ValidationError:
        if not _holds_chunks(content := _content(data)):
            raise
        return read_older_record(cast("dict[str, Any]", content))


def read_older_record(content: Mapping[str, Any]) -> tuple[JobRecord, ChunkLists]:
    """The same for the content of a record that an older version wrote. Raises ValidationError."""
    preview = _chunks(content, "chunks", "chunk_versions", "fingerprints")
    refined = _chunks(content, "refined", "refined_versions", "refine_fingerprints")
    moved = {"chunks", "refined", "chunk_versions", "refined_versions"}
    kept = {name: value for name, value in content.items() if name not in moved}
    record = JobRecord.model_validate_json(json.dumps(kept))
    totals = {"chunks": totals_of(preview), "refined": totals_of(refined)}
    return record.model_copy(update=totals), ChunkLists(preview, refined)


def totals_of(chunks: Iterable[ChunkRecord]) -> ChunkTotals:
    """Totals of all chunks of one variant, in order."""
    return reduce(ChunkTotals.followed_by, chunks, ChunkTotals())


def _content(data: str | bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _holds_chunks(content: object) -> bool:
    return isinstance(content, dict) and isinstance(cast("dict[str, object]", content).get("chunks", []), list)


def _chunks(content: Mapping[str, Any], field: str, versions: str, fingerprints: str) -> tuple[ChunkRecord, ...]:
    """The chunks of a field, each with its version and fingerprint, which were in fields beside it."""
    chunks = _CHUNKS.validate_json(json.dumps(content.get(field, [])))
    known = content.get(versions, [])
    of_chunks = known if len(known) == len(chunks) else [None] * len(chunks)
    changes = _CHANGES.validate_json(json.dumps(content.get(fingerprints, [])))
    return tuple(
        chunk.model_copy(update={"version": version, "fingerprint": _fingerprint(changes, chunk.index)})
        for chunk, version in zip(chunks, of_chunks, strict=True)
    )


def _fingerprint(changes: Iterable[FingerprintChange], index: int) -> str | None:
    earlier = [change.fingerprint for change in changes if change.from_chunk <= index]
    return earlier[-1] if earlier else None
