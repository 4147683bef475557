"""Orphans are found and removed; objects that a job, an upload or the janitor still needs are kept."""

from __future__ import annotations

import pytest

from cli.commands.gc import in_both_scans
from core.service.domain.ids import new_upload_id
from core.service.domain.manifest import chunk_key, manifest_key, refine_state_key, tombstone_key, video_key
from core.service.domain.refine_plan import num_pieces, refine_piece
from core.service.domain.schema import JobError, JobStatus, RefineSchedule
from core.service.domain.uploads import upload_key
from core.service.media.uploads import UploadRequest, new_upload
from core.service.records.orphans import Orphan, find_orphans, remove
from core.service.records.tombstones import delete_job
from tests.helpers.fake_world import JOB, HookedEngine, MemoryJanitorLock, World
from tests.helpers.jobs import refine_spec
from worker.maintenance.janitor import Janitor


def orphans(world: World) -> dict[str, str]:
    return {orphan.name: orphan.reason for orphan in find_orphans(world.store, world.storage, world.uploads)}


def test_a_busy_and_an_idle_service_have_no_orphans(world: World) -> None:
    world.submit(num_frames=72, refine=refine_spec())
    maker, refiner = world.maker(), world.refiner()
    for worker in (maker, maker, refiner, maker):
        worker.work()
        assert orphans(world) == {}
    world.work(maker)
    assert orphans(world) == {}


def test_a_deleted_job_has_none_before_or_after_the_janitor(world: World) -> None:
    world.submit()
    world.maker().work()
    delete_job(world.store, world.storage, JOB)
    assert orphans(world) == {}
    Janitor(world.services(), MemoryJanitorLock()).run()
    assert orphans(world) == {}


def test_orphans_are_listed_with_the_reason_and_removed(world: World) -> None:
    world.submit(num_frames=16)
    world.work(world.maker())
    strange = {
        chunk_key(JOB, 5): "not needed by its job",
        manifest_key("job_nowhere"): "of no job",
        tombstone_key("job_forgotten"): "a tombstone that the store no longer has",
        upload_key(new_upload_id()): "of no upload",
        "uploads/else": "of no upload",
    }
    for key in strange:
        world.storage.put(key, b"?", "text/plain")
    upload = new_upload(UploadRequest(content_type="video/mp4", size_bytes=3), world.settings, world.clock.now())
    world.uploads.create(upload)
    world.storage.put(upload.key, b"abc", "video/mp4")
    world.store.memory.events["job_half"] = []
    assert orphans(world) == {**strange, "job_half": "keys in Redis without a record"}
    for orphan in [*find_orphans(world.store, world.storage, world.uploads)]:
        remove(orphan, world.store, world.storage)
    assert orphans(world) == {}
    assert world.storage.exists(upload.key)


def test_what_was_stored_for_a_deleted_job_later_is_found(world: World) -> None:
    world.submit()
    delete_job(world.store, world.storage, JOB)
    Janitor(world.services(), MemoryJanitorLock()).run()
    world.storage.put(chunk_key(JOB, 0), b"late", "video/mp4")
    assert orphans(world) == {chunk_key(JOB, 0): "of a job that was deleted"}


def test_only_what_is_there_twice_counts() -> None:
    looks = iter([[Orphan("a", "?"), Orphan("b", "?")], [Orphan("b", "?"), Orphan("c", "?")]])
    assert in_both_scans(lambda: next(looks), 0.0) == [Orphan("b", "?")]
    assert in_both_scans(lambda: [], 0.0) == []


@pytest.mark.parametrize("schedule", ["streaming", "lockstep"])
def test_no_step_of_a_refined_job_leaves_one(world: World, schedule: RefineSchedule) -> None:
    world.submit(num_frames=72, refine=refine_spec(schedule=schedule))
    maker, refiner = world.maker(), world.refiner()
    while world.store.get(JOB).status is not JobStatus.FINALIZING:
        maker.work()
        refiner.work()
        assert orphans(world) == {}
    stored = set(world.storage.objects)
    assert state_is_there(world)
    world.storage.put(video_key(JOB), b"being finalised", "video/mp4")
    assert orphans(world) == {}
    assert stored < set(world.storage.objects)


def state_is_there(world: World) -> bool:
    """What the refiner went on from last is there to the end."""
    pieces = num_pieces(world.store.get(JOB).spec)
    last = refine_piece(world.store.get(JOB).spec, pieces - 1).state_of
    return last is None or refine_state_key(JOB, last) in world.storage.objects


def test_a_worker_that_comes_after_the_end_lets_its_objects_be_looked_through(world: World) -> None:
    world.submit()
    world.maker().work()

    def end_the_job(step: int) -> None:
        if step == 3:
            world.store.fail(JOB, JobError(code="x", message="x", retryable=False))
            world.store.cleanup_done(JOB)

    world.maker(HookedEngine(end_the_job)).work()
    assert [record.id for record in world.store.cleanup_pending(10)] == [JOB]
    Janitor(world.services(), MemoryJanitorLock()).run()
    assert orphans(world) == {}
