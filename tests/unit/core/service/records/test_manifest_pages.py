"""The manifest of a long job: whole pages of chunks are objects of their own, written once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.service.domain.errors import ObjectDamaged
from core.service.domain.manifest import PAGE_CHUNKS, ChunkPage, manifest_key, page_key
from core.service.domain.schema import VARIANTS, ChunkLists, ChunkRecord, JobRecord, JobStatus, Lane, Variant
from core.service.records.chunk_reads import all_chunks
from core.service.records.kept_objects import unneeded_keys
from core.service.records.manifest_writer import write_manifest
from core.service.records.stored_jobs import read_job
from core.service.testing.job_store import FakeJobStore
from core.service.testing.storage import FakeStorage
from tests.helpers.fake_world import HookedStorage
from tests.helpers.jobs import chunk_of, chunks_of, queued_job, refine_spec, with_chunks


class NotingStore(FakeJobStore):
    """Notes how many chunks each read returns."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []

    def chunks(self, job_id: str, variant: Variant, start: int = 0, stop: int | None = None) -> Sequence[ChunkRecord]:
        found = super().chunks(job_id, variant, start, stop)
        self.reads.append(len(found))
        return found


class Long:
    """A job of many chunks, and what was put into the storage."""

    def __init__(self, count: int, refined: int = 0) -> None:
        self.puts: list[str] = []
        self.store, self.storage = NotingStore(), HookedStorage(self.puts.append)
        job = queued_job(num_frames=16 * 2000, refine=refine_spec())
        record = with_chunks(job, count, refined).model_copy(update={"status": JobStatus.RUNNING, "revision": 3})
        assert self.store.restore(record, ChunkLists(chunks_of(job, count), chunks_of(job, refined)))
        self.id = job.id
        write_manifest(self.store, self.storage, self.record)

    @property
    def record(self) -> JobRecord:
        return self.store.get(self.id)

    def key(self, variant: Variant, number: int) -> str:
        return page_key(self.id, ChunkPage(variant, number))

    def commit(self) -> None:
        self.puts.clear()
        self.store.reads.clear()
        lease = self.store.claim(self.id, Lane.GENERATE, "w1", 60)
        assert lease
        made = self.store.commit_chunk(lease, chunk_of(self.record, self.record.chunks.count), "f1")
        write_manifest(self.store, self.storage, made)


def test_a_long_job_is_read_back_from_its_pages() -> None:
    long = Long(2 * PAGE_CHUNKS + 8, PAGE_CHUNKS)
    pages = [long.key("preview", 0), long.key("preview", 1), long.key("refined", 0)]
    assert long.puts == [*pages, manifest_key(long.id)]
    assert read_job(long.storage, long.id) == (long.record, all_chunks(long.store, long.id))


def test_a_commit_writes_and_reads_no_more_than_one_page_however_long_the_job_is() -> None:
    long = Long(4 * PAGE_CHUNKS - 1)
    long.commit()
    assert long.puts == [long.key("preview", 3), manifest_key(long.id)]
    long.commit()
    assert long.puts == [manifest_key(long.id)]
    assert max(long.store.reads) <= PAGE_CHUNKS
    assert sum(long.store.reads) == 1


def test_a_page_is_written_again_after_a_repair_in_it_and_not_before_it_is_stored() -> None:
    long = Long(600)
    lease = long.store.claim(long.id, Lane.GENERATE, "w1", 60)
    assert lease
    long.store.repair(lease, (3,))
    again = long.store.claim(long.id, Lane.GENERATE, "w1", 60)
    assert again
    repaired = long.store.commit_repair(again, chunk_of(long.record, 3).model_copy(update={"state_sha256": "s"}))
    long.puts.clear()
    write_manifest(long.store, long.storage, repaired)
    assert long.puts == [long.key("preview", 0), manifest_key(long.id)]
    assert read_job(long.storage, long.id)[1].preview[3].state_sha256 == "s"


def test_a_page_that_an_older_writer_stored_over_a_newer_one_is_written_again() -> None:
    """The slow writer read the page before a repair and stores it after the other has finished."""
    long = Long(PAGE_CHUNKS - 1)
    long.commit()
    before = long.record
    stale = long.storage.objects[long.key("preview", 0)]
    lease = long.store.claim(long.id, Lane.GENERATE, "w1", 60)
    assert lease
    long.store.repair(lease, (3,))
    again = long.store.claim(long.id, Lane.GENERATE, "w1", 60)
    assert again
    newer = long.store.commit_repair(again, chunk_of(before, 3).model_copy(update={"state_sha256": "s"}))
    late = LateStorage(long, newer, stale)
    write_manifest(long.store, late, before)
    assert read_job(long.storage, long.id)[1].preview[3].state_sha256 == "s"


class LateStorage(FakeStorage):
    """The storage of a slow writer: while it puts its first page, another writer writes everything that is newer."""

    def __init__(self, long: Long, newer: JobRecord, stale: bytes) -> None:
        super().__init__()
        self.objects = long.storage.objects
        self._other = (long, newer)
        self._stale: bytes | None = stale

    def put(self, key: str, data: bytes, content_type: str) -> None:
        stale, self._stale = self._stale, None
        if stale is None:
            super().put(key, data, content_type)
            return
        long, newer = self._other
        write_manifest(long.store, long.storage, newer)
        super().put(key, stale, content_type)


def test_a_job_with_a_missing_page_is_not_rebuilt_from_what_is_left() -> None:
    long = Long(300)
    del long.storage.objects[long.key("preview", 0)]
    with pytest.raises(ObjectDamaged, match=r"00000\.json is missing"):
        read_job(long.storage, long.id)


def test_pages_are_kept_and_those_of_no_chunk_are_not() -> None:
    long = Long(2 * PAGE_CHUNKS + 8, PAGE_CHUNKS + 4)
    pages = [long.key(variant, number) for variant in VARIANTS for number in range(5)]
    lists = all_chunks(long.store, long.id)
    ended = long.record.model_copy(update={"status": JobStatus.SUCCEEDED})
    kept = [long.key("preview", 0), long.key("preview", 1), long.key("refined", 0)]
    assert sorted({*pages} - {*unneeded_keys(ended, lists, pages)}) == kept
    being_written = [long.key("preview", 2), long.key("refined", 1)]
    assert sorted({*pages} - {*unneeded_keys(long.record, lists, pages)}) == sorted([*kept, *being_written])


def test_chunks_are_kept_under_the_names_that_they_have() -> None:
    job = queued_job()
    named = chunk_of(job, 1).model_copy(update={"key": f"jobs/{job.id}/chunks/00001-2.mp4"})
    lists = ChunkLists((chunk_of(job, 0), named))
    ended = with_chunks(job, 2).model_copy(update={"status": JobStatus.SUCCEEDED})
    stored = [chunk_of(job, 0).key, chunk_of(job, 1).key, named.key]
    assert unneeded_keys(ended, lists, stored) == [chunk_of(job, 1).key]
