"""The manifest, jobs/{id}/manifest.json, from which a job's record can be rebuilt; and the keys of all its objects.

Records of chunks are in pages beside it, so that writing it costs the same for the last chunk of a long job as for the
first. Reads and writes no storage. A manifest holds secrets: the webhook's URL and secret, and that of links.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError

from core.service.domain.errors import ObjectDamaged
from core.service.domain.schema import (
    VARIANTS,
    ChunkLists,
    ChunkRecord,
    ChunkTotals,
    JobRecord,
    Stored,
    Variant,
    read_older_record,
)

MANIFEST_VERSION = 2
"""Version 1 has all chunks in the record; it is still read."""
PAGE_CHUNKS = 32
"""Chunks of one page. Only whole pages are objects of their own; the manifest has the chunks after them, and is written
with each commit: so pages are small."""
JOBS_PREFIX = "jobs/"
TOMBSTONES_PREFIX = "tombstones/"


class ManifestChunks(Stored):
    """Where the chunks of one variant are: in `full_pages` pages, then in `rest`."""

    full_pages: int = 0
    rest: tuple[ChunkRecord, ...] = ()


class Manifest(Stored):
    """Content of the file. `version` changes only if older readers would misread it."""

    version: Literal[2] = MANIFEST_VERSION
    job: JobRecord
    chunks: ManifestChunks = ManifestChunks()
    refined: ManifestChunks = ManifestChunks()

    def of(self, variant: Variant) -> ManifestChunks:
        """`chunks` or `refined`."""
        return self.chunks if variant == "preview" else self.refined


@dataclass(frozen=True, order=True)
class ChunkPage:
    """Page `number` of the chunks of one variant."""

    variant: Variant
    number: int

    @property
    def span(self) -> range:
        """Indices of its chunks."""
        return range(self.number * PAGE_CHUNKS, (self.number + 1) * PAGE_CHUNKS)


def full_pages(totals: ChunkTotals) -> int:
    """Number of whole pages of a variant."""
    return totals.count // PAGE_CHUNKS


def manifest_bytes(record: JobRecord, rest: ChunkLists) -> bytes:
    """The manifest of a job: UTF-8 JSON, indented. `rest` are the chunks after its whole pages."""
    chunks, refined = (
        ManifestChunks(full_pages=full_pages(record.totals(variant)), rest=rest.of(variant)) for variant in VARIANTS
    )
    return Manifest(job=record, chunks=chunks, refined=refined).model_dump_json(indent=1).encode()


def read_manifest(data: bytes) -> tuple[Manifest, ChunkLists]:
    """Inverse of `manifest_bytes`, and the chunks after the whole pages: all of them if version 1 wrote it.

    Raises ObjectDamaged if the bytes are not a manifest of a version that is known here."""
    try:
        if _version_of(data) == 1:
            record, lists = read_older_record(json.loads(data)["job"])
            return Manifest(job=record), lists
        manifest = Manifest.model_validate_json(data)
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ObjectDamaged(f"not a manifest of version 1 to {MANIFEST_VERSION}") from error
    return manifest, ChunkLists(manifest.chunks.rest, manifest.refined.rest)


def page_bytes(chunks: Sequence[ChunkRecord]) -> bytes:
    """A page: a JSON list of chunk records."""
    return _PAGE.dump_json(tuple(chunks))


def read_page(data: bytes) -> tuple[ChunkRecord, ...]:
    """Inverse of `page_bytes`. Raises ObjectDamaged if it is not a whole page."""
    try:
        chunks = _PAGE.validate_json(data)
    except ValidationError as error:
        raise ObjectDamaged(f"not a page of chunks: {error.error_count()} errors in it") from error
    if len(chunks) != PAGE_CHUNKS:
        raise ObjectDamaged(f"a page with {len(chunks)} chunks instead of {PAGE_CHUNKS}")
    return chunks


_PAGE = TypeAdapter(tuple[ChunkRecord, ...])


def _version_of(data: bytes) -> object:
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return cast("dict[str, Any]", content).get("version") if isinstance(content, dict) else None


def is_of_another_version(data: bytes) -> bool:
    """Whether bytes that `read_manifest` refuses look like a manifest of another version."""
    try:
        content = json.loads(data)
    except ValueError:
        return False
    return isinstance(content, dict) and {"version", "job"} <= content.keys()


def tombstone_key(job_id: str) -> str:
    """Key of the object that marks the job as deleted, so that its record is not rebuilt."""
    return f"{TOMBSTONES_PREFIX}{job_id}"


def job_id_of_tombstone(key: str) -> str:
    """Inverse of `tombstone_key`."""
    return key.removeprefix(TOMBSTONES_PREFIX)


def job_prefix(job_id: str) -> str:
    """Prefix of all objects of a job."""
    return f"{JOBS_PREFIX}{job_id}/"


def manifest_key(job_id: str) -> str:
    return f"{job_prefix(job_id)}manifest.json"


def job_id_of_manifest(key: str) -> str | None:
    """Inverse of `manifest_key`; None for any other key."""
    job_id = key.removeprefix(JOBS_PREFIX).removesuffix("/manifest.json")
    return job_id if key == manifest_key(job_id) and "/" not in job_id else None


def pages_prefix(job_id: str) -> str:
    """Prefix of the pages of chunk records."""
    return f"{job_prefix(job_id)}pages/"


def page_key(job_id: str, page: ChunkPage) -> str:
    return f"{pages_prefix(job_id)}{page.variant}/{page.number:05d}.json"


def chunks_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}chunks/"


def piece_name(index: int, generation: int) -> str:
    """Name of an object without its ending. What a later generation of the job makes has another name, so that a late
    worker of an earlier one overwrites nothing, and nothing that is served changes."""
    return f"{index:05d}{_suffix(generation)}"


def generation_of(key: str) -> int:
    """The generation of the job that made an object, by its name."""
    found = _GENERATION.search(key)
    return int(found[1]) if found else 0


_GENERATION = re.compile(r"-(\d+)\.[a-z0-9]+$", re.ASCII)


def chunk_key(job_id: str, index: int, generation: int = 0) -> str:
    return f"{chunks_prefix(job_id)}{piece_name(index, generation)}.mp4"


def refined_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}refined/"


def refined_key(job_id: str, index: int, generation: int = 0) -> str:
    """The same frames as chunk `index`, refined."""
    return f"{refined_prefix(job_id)}{piece_name(index, generation)}.mp4"


def inputs_prefix(job_id: str) -> str:
    """Prefix of the prepared input media."""
    return f"{job_prefix(job_id)}input/"


def input_key(job_id: str, token: int) -> str:
    """Input media prepared under this fencing token: a late worker overwrites nothing."""
    return f"{inputs_prefix(job_id)}{token:05d}.safetensors"


def input_index_key(job_id: str, token: int) -> str:
    """The index of a whole input video that the holder of this fencing token has prepared."""
    return f"{inputs_prefix(job_id)}{token:05d}.json"


def input_piece_key(index_key: str, number: int) -> str:
    """A piece of the whole input video with this index."""
    return f"{index_key.removesuffix('.json')}/{number:05d}.safetensors"


def state_key(job_id: str, index: int, generation: int = 0) -> str:
    """The engine's state after chunk `index`, which this generation made."""
    return f"{job_prefix(job_id)}state/generate/{piece_name(index, generation)}.safetensors"


def refine_states_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}state/refine/"


def refine_state_prefix(job_id: str, index: int) -> str:
    """Prefix of the states after a piece, of all generations."""
    return f"{refine_states_prefix(job_id)}{index:05d}"


def refine_state_key(job_id: str, index: int, generation: int = 0) -> str:
    """The refiner's state after refinement piece `index`."""
    return f"{refine_states_prefix(job_id)}{piece_name(index, generation)}.safetensors"


def states_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}state/"


def frames_prefix(job_id: str) -> str:
    """Prefix of the exact frames that are still to be refined."""
    return f"{job_prefix(job_id)}frames/"


def frames_key(job_id: str, index: int, generation: int = 0) -> str:
    """The exact frames of chunk `index`: the refiner never reads a lossy file."""
    return f"{frames_prefix(job_id)}{piece_name(index, generation)}.safetensors"


def videos_prefix(job_id: str) -> str:
    """Prefix of the final videos of all generations."""
    return f"{job_prefix(job_id)}video"


def video_key(job_id: str, generation: int = 0) -> str:
    return f"{videos_prefix(job_id)}{_suffix(generation)}.mp4"


def refined_video_key(job_id: str, generation: int = 0) -> str:
    return f"{videos_prefix(job_id)}_refined{_suffix(generation)}.mp4"


def _suffix(generation: int) -> str:
    return f"-{generation}" if generation else ""


def metrics_prefix(job_id: str) -> str:
    """Prefix of the metrics of all generations."""
    return f"{job_prefix(job_id)}metrics"


def metrics_key(job_id: str, generation: int = 0) -> str:
    """What was measured of the final videos of a generation."""
    return f"{metrics_prefix(job_id)}{_suffix(generation)}.json"


def thumbnail_key(job_id: str) -> str:
    return f"{job_prefix(job_id)}thumbnail.jpg"
