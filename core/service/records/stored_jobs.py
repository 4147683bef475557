"""Reads a job from the object store: its manifest and the pages of its chunks."""

from __future__ import annotations

from core.service.domain.errors import ObjectDamaged, ObjectNotFound
from core.service.domain.manifest import ChunkPage, Manifest, manifest_key, page_key, read_manifest, read_page
from core.service.domain.ports import Storage
from core.service.domain.schema import ChunkLists, ChunkRecord, JobRecord, Variant


def read_job(storage: Storage, job_id: str) -> tuple[JobRecord, ChunkLists]:
    """A job's record and all its chunks. Raises ObjectNotFound without a manifest, ObjectDamaged if the job cannot be
    rebuilt from what is there, and other StorageErrors."""
    manifest, rest = read_manifest(storage.get(manifest_key(job_id)))
    preview, refined = (_chunks(storage, manifest, rest, variant) for variant in ("preview", "refined"))
    return manifest.job, ChunkLists(preview, refined)


def _chunks(storage: Storage, manifest: Manifest, rest: ChunkLists, variant: Variant) -> tuple[ChunkRecord, ...]:
    pages = (_page(storage, manifest.job.id, ChunkPage(variant, n)) for n in range(manifest.of(variant).full_pages))
    chunks = (*(chunk for page in pages for chunk in page), *rest.of(variant))
    if len(chunks) != manifest.job.totals(variant).count:
        raise ObjectDamaged(
            f"{manifest.job.id} has {manifest.job.totals(variant).count} chunks, {len(chunks)} are listed"
        )
    return chunks


def _page(storage: Storage, job_id: str, page: ChunkPage) -> tuple[ChunkRecord, ...]:
    try:
        return read_page(storage.get(page_key(job_id, page)))
    except ObjectNotFound as error:
        raise ObjectDamaged(f"{page_key(job_id, page)} is missing") from error
