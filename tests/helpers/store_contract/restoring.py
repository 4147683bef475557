"""What is rebuilt from manifests, and the chunks of a job."""

from __future__ import annotations

import pytest

from core.service.domain.errors import JobNotFound, StaleLease
from core.service.domain.manifest import PAGE_CHUNKS, ChunkPage
from core.service.domain.schema import (
    ChunkLists,
    JobStatus,
)
from core.service.domain.schema.older import totals_of
from core.service.domain.transitions import KEPT_EVENTS
from core.service.records.chunk_reads import all_chunks
from tests.helpers.jobs import (
    DAY_ONE,
    chunk_of,
    chunks_of,
    queued_job,
    refine_spec,
    with_chunks,
)
from tests.helpers.store_contract.ports import (
    HOOKED,
    LONG,
    StorePorts,
)


class RestoringContract:
    """Every test gets fresh, empty `ports`."""

    # Restore

    def test_a_restored_job_goes_on_where_its_manifest_ended(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        zombie = ports.claim(job)
        record = ports.store.commit_chunk(zombie, chunk_of(job, 0), "f1")
        lists = all_chunks(ports.store, job.id)
        ports.store.purge(job.id)
        assert ports.store.restore(record, lists)
        assert ports.event_types(job) == ["job.queued", "job.started", "chunk.completed"]
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(zombie, chunk_of(job, 1), "f1")
        assert ports.make_chunk(job, 1).version == 2
        assert [chunk.version for chunk in ports.store.chunks(job.id, "preview")] == [1, 2]

    def test_a_restored_job_has_its_chunks_and_their_pages_are_stale(self, ports: StorePorts) -> None:
        job = queued_job(num_frames=16 * 90, refine=refine_spec())
        running = with_chunks(job, 90, 40).model_copy(update={"status": JobStatus.RUNNING, "revision": 7})
        lists = ChunkLists(chunks_of(job, 90), chunks_of(job, 40))
        assert ports.store.restore(running, lists)
        assert all_chunks(ports.store, job.id) == lists
        pages = [ChunkPage("preview", 0), ChunkPage("preview", 1), ChunkPage("refined", 0)]
        assert sorted(ports.store.stale_pages(job.id)) == pages
        ports.store.manifest_stored(ports.store.get(job.id))
        assert ports.store.stale_pages(job.id) == []

    # Chunks

    def test_chunks_are_read_by_their_place(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.chunks(job.id, "preview") == []
        ports.make_all_chunks(job)
        made = ports.store.chunks(job.id, "preview")
        assert [(chunk.index, chunk.version, chunk.fingerprint) for chunk in made] == [(0, 1, "f1"), (1, 2, "f1")]
        assert ports.store.get(job.id).chunks == totals_of(made)
        for start, stop in [(0, 1), (1, 2), (1, None), (0, 0), (2, None), (1, 9)]:
            expected = made[start:stop]
            assert list(ports.store.chunks(job.id, "preview", start, stop)) == list(expected)
        assert ports.store.chunks(job.id, "refined") == []
        with pytest.raises(JobNotFound):
            ports.store.chunks("job_nowhere", "preview")

    def test_a_page_is_stale_when_it_is_full_and_again_after_a_repair(self, ports: StorePorts) -> None:
        job = queued_job(num_frames=16 * 300)
        running = with_chunks(job, PAGE_CHUNKS - 1).model_copy(update={"status": JobStatus.RUNNING, "revision": 7})
        assert ports.store.restore(running, ChunkLists(chunks_of(job, PAGE_CHUNKS - 1)))
        assert ports.store.stale_pages(job.id) == []
        full = ports.make_chunk(job, PAGE_CHUNKS - 1)
        assert ports.store.stale_pages(job.id) == [ChunkPage("preview", 0)]
        damaged = ports.store.repair(ports.claim(job), (3,))
        ports.store.manifest_stored(full)
        assert ports.store.stale_pages(job.id) == []
        ports.store.commit_repair(ports.claim(job), chunk_of(job, 3).model_copy(update={"state_sha256": "s"}))
        ports.store.manifest_stored(damaged)
        assert ports.store.stale_pages(job.id) == [ChunkPage("preview", 0)]
        assert ports.store.chunks(job.id, "preview", 3, 4)[0].state_sha256 == "s"

    def test_the_log_of_a_long_job_keeps_the_newest_events(self, ports: StorePorts) -> None:
        job, count = queued_job(num_frames=16 * 5000), 4000
        running = with_chunks(job, count).model_copy(update={"status": JobStatus.RUNNING, "started_at": DAY_ONE})
        assert ports.store.restore(running, ChunkLists(chunks_of(job, count)))
        ports.make_chunk(job, count)
        log = [*ports.log.read(job.id, limit=10_000)]
        assert KEPT_EVENTS <= len(log) <= KEPT_EVENTS + 200
        assert log[-1].id == f"{count + 3}-0"
        assert [event.id for event in ports.log.read(job.id, "5-0", limit=3)] == [event.id for event in log[:3]]

    def test_of_the_webhooks_of_a_long_job_the_newest_ended_ones_are_kept_and_all_are_counted(
        self, ports: StorePorts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("redis", "testing"):
            monkeypatch.setattr(f"core.service.{module}.outbox.KEPT_DELIVERIES", 3)
        job = queued_job(num_frames=16 * 100, **HOOKED)
        running = with_chunks(job, 8).model_copy(update={"status": JobStatus.RUNNING, "started_at": DAY_ONE})
        assert ports.store.restore(running, ChunkLists(chunks_of(job, 8)))
        ports.pass_time(86_400.0)
        for number in range(1, 7):
            (due,) = ports.outbox.take_due(1, LONG)
            assert ports.outbox.record(due.model_copy(update={"state": "delivered", "next_attempt_at": None})) == number
        assert [delivery.order[0] for delivery in ports.outbox.of_job(job.id)] == [4, 5, 6, 7, 8]
