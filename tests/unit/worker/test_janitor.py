"""The janitor brings back what nobody works on, removes what shall go, and rebuilds what Redis has lost."""

from __future__ import annotations

import pytest

from core.service import queue
from core.service.errors import JobNotFound, UploadNotFound
from core.service.fakes import FakeJobStore
from core.service.manifest import job_prefix
from core.service.media.uploads import UPLOADS_PREFIX, UploadRequest, new_upload, upload_key
from core.service.schema import JobError, JobStatus, Lane, RefineSchedule
from tests.helpers.fake_world import JOB, MemoryCoordination, World
from tests.helpers.jobs import refine_spec
from worker.janitor import UPLOAD_GRACE, Janitor


class Office:
    """A janitor whose passes are one interval apart."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.coordination = MemoryCoordination()
        self.janitor = Janitor(world.services("cpu-1"), self.coordination)

    def passes(self, count: int = 1) -> None:
        for _ in range(count):
            self.janitor.run()
            self.world.clock.advance(self.world.settings.janitor_interval_seconds)


@pytest.fixture
def office(world: World) -> Office:
    return Office(world)


def test_a_queued_job_that_lost_its_message_gets_another_after_a_grace(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    office.passes(1)
    assert world.tasks() == []
    office.passes(1)
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


def test_a_job_in_work_is_left_alone(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 3600)
    office.passes(5)
    assert world.tasks() == []


def test_a_job_of_a_killed_worker_comes_back_when_its_lease_has_run_out(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    world.store.claim(JOB, Lane.GENERATE, "killed", 30)
    office.passes(6)
    assert world.tasks() == []
    office.passes(4)
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]
    world.work(world.maker())
    assert len(world.store.get(JOB).chunks) == 3


def test_a_lane_that_nobody_works_on_comes_back_while_the_other_is_in_work(world: World, office: Office) -> None:
    world.submit(num_frames=64, refine=refine_spec())
    maker = world.maker()
    maker.work_on(JOB)
    maker.work_on(JOB)
    world.queue.messages.clear()
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 3600)
    office.passes(2)
    assert world.tasks() == [queue.TASK_REFINE_WINDOW]


@pytest.mark.parametrize("schedule", ["streaming", "lockstep"])
def test_a_job_whose_refining_worker_was_killed_comes_back(
    world: World, office: Office, schedule: RefineSchedule
) -> None:
    world.submit(num_frames=40, refine=refine_spec(schedule=schedule))
    maker = world.maker()
    for _ in range(3):
        maker.work_on(JOB)
    world.queue.messages.clear()
    world.store.claim(JOB, Lane.REFINE, "killed", 30)
    office.passes(12)
    assert world.tasks() == [queue.TASK_REFINE_WINDOW if schedule == "streaming" else queue.TASK_REFINE_STEP]
    world.work(maker)
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED


def test_a_job_rebuilt_from_its_manifest_is_refined_to_its_end(world: World) -> None:
    world.submit(num_frames=40, refine=refine_spec())
    maker = world.maker()
    for _ in range(3):
        maker.work_on(JOB)
    world.refiner().work_on(JOB)
    world.queue.messages.clear()
    world.store = FakeJobStore(world.clock)
    rebuilt = Office(world)
    rebuilt.passes(2)
    assert world.tasks() == [queue.TASK_REFINE_WINDOW]
    world.work(world.maker())
    assert [chunk.index for chunk in world.store.get(JOB).refined] == [0, 1, 2]


def test_a_job_that_keeps_failing_waits_longer_each_time(world: World, office: Office) -> None:
    world.submit()
    waits: list[int] = []
    for _ in range(3):
        world.queue.messages.clear()
        lease = world.store.claim(JOB, Lane.GENERATE, "worker-1", 30)
        assert lease is not None
        world.store.release(lease, count_attempt=True)
        waits.append(0)
        while not world.tasks():
            office.passes(1)
            waits[-1] += 1
    assert waits == [3, 5, 9]


def test_a_job_that_waits_its_turn_is_asked_about_less_and_less(world: World, office: Office) -> None:
    world.submit()
    sent_at: list[int] = []
    for number in range(40):
        world.queue.messages.clear()
        office.passes(1)
        if world.tasks():
            sent_at.append(number)
    assert sent_at == [1, 3, 7, 15, 31]


def test_progress_between_two_passes_starts_the_grace_anew(world: World, office: Office) -> None:
    world.submit()
    maker = world.maker()
    for _ in range(2):
        office.passes(1)
        maker.work_on(JOB)
        world.queue.messages.clear()
    office.passes(1)
    assert world.tasks() == []


def test_a_cancelled_job_that_nobody_winds_up_is_finalised(world: World, office: Office) -> None:
    world.submit()
    world.maker().work_on(JOB)
    world.store.request_cancel(JOB)
    world.queue.messages.clear()
    office.passes(2)
    assert world.store.get(JOB).status is JobStatus.FINALIZING
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_a_finalizing_job_that_lost_its_message_gets_another(world: World, office: Office) -> None:
    world.submit(num_frames=16)
    world.maker().work_on(JOB)
    world.queue.messages.clear()
    office.passes(2)
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_a_deleted_job_goes_with_its_objects_once_no_lease_lives(world: World, office: Office) -> None:
    world.submit()
    world.maker().work_on(JOB)
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 30)
    world.store.request_delete(JOB)
    office.passes(1)
    assert [*world.storage.list(job_prefix(JOB))]
    world.clock.advance(30)
    office.passes(1)
    assert [*world.storage.list(job_prefix(JOB))] == []
    assert world.store.active() == []


def test_an_expired_job_goes_with_its_objects(world: World, office: Office) -> None:
    world.submit(num_frames=16)
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    office.passes(1)
    assert world.store.get(JOB).video_key in world.storage.objects
    world.clock.advance(7 * 86400)
    office.passes(1)
    assert not world.storage.objects
    with pytest.raises(JobNotFound):
        world.store.get(JOB)


def test_records_lost_with_redis_are_rebuilt_and_unfinished_jobs_go_on(world: World) -> None:
    world.submit()
    world.maker().work_on(JOB)
    world.submit("job_done", num_frames=16)
    world.maker().work_on("job_done")
    world.storage.put(f"{job_prefix('job_bad')}manifest.json", b"{", "application/json")
    world.store = FakeJobStore(world.clock)
    world.queue.messages.clear()
    Office(world).passes(2)
    assert len(world.store.get(JOB).chunks) == 1
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert world.store.get("job_done").status is JobStatus.SUCCEEDED


def test_manifests_are_read_once(world: World, office: Office) -> None:
    world.submit()
    world.maker().work_on(JOB)
    office.passes(1)
    world.store.purge(JOB)
    office.passes(1)
    with pytest.raises(JobNotFound):
        world.store.get(JOB)


def test_a_broken_object_store_does_not_keep_jobs_from_coming_back(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    world.storage.broken = True
    office.passes(2)
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]
    assert not office.coordination.read


def test_two_janitors_do_not_work_at_once(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    office.coordination.taken = True
    office.passes(5)
    assert world.tasks() == []


def new_upload_of(world: World) -> str:
    """An upload that was declared and sent."""
    upload = new_upload(UploadRequest(content_type="video/mp4", size_bytes=3), world.settings, world.clock.now())
    world.uploads.create(upload)
    world.storage.put(upload.key, b"abc", "video/mp4")
    return upload.id


def test_an_old_upload_goes_with_its_object_and_its_neighbour_stays(world: World, office: Office) -> None:
    old = new_upload_of(world)
    world.clock.advance(world.settings.upload_retention_seconds)
    young = new_upload_of(world)
    office.passes(1)
    assert world.uploads.get(old)
    world.clock.advance(UPLOAD_GRACE.total_seconds())
    office.passes(1)
    assert [*world.storage.list(UPLOADS_PREFIX)] == [upload_key(young)]
    assert world.uploads.get(young)
    with pytest.raises(UploadNotFound):
        world.uploads.get(old)


def test_an_upload_stays_while_a_job_waits_for_it_and_goes_after_its_first_chunk(world: World, office: Office) -> None:
    video = new_upload_of(world)
    world.submit(video=video)
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 10 * 86400)
    world.clock.advance(2 * world.settings.upload_retention_seconds)
    office.passes(1)
    assert world.storage.exists(upload_key(video))
    world.store.request_cancel(JOB)
    world.store.begin_finalizing(JOB)
    world.store.fail(JOB, JobError(code="x", message="x", retryable=False))
    office.passes(1)
    assert not world.storage.exists(upload_key(video))


def test_an_upload_that_was_never_sent_is_forgotten(world: World, office: Office) -> None:
    upload = new_upload(UploadRequest(content_type="video/mp4", size_bytes=3), world.settings, world.clock.now())
    world.uploads.create(upload)
    world.clock.advance(2 * world.settings.upload_retention_seconds)
    office.passes(1)
    assert world.uploads.older_than(world.clock.now()) == []


def test_uploads_that_redis_has_lost_can_be_used_again_and_end_some_day(world: World, office: Office) -> None:
    upload_id = new_upload_of(world)
    world.storage.put("uploads/else", b"?", "text/plain")
    world.uploads.remove(upload_id)
    office.passes(1)
    adopted = world.uploads.get(upload_id)
    assert (adopted.content_type, adopted.size_bytes) == ("video/mp4", 3)
    world.clock.advance(2 * world.settings.upload_retention_seconds)
    office.passes(1)
    assert not world.storage.exists(upload_key(upload_id))


def test_an_outage_of_the_object_store_keeps_the_record_of_an_upload(world: World, office: Office) -> None:
    upload_id = new_upload_of(world)
    world.clock.advance(2 * world.settings.upload_retention_seconds)
    world.storage.broken = True
    office.passes(1)
    assert world.uploads.get(upload_id)
