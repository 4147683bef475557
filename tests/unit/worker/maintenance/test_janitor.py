"""The janitor wakes workers for waiting jobs, removes deleted and expired ones, and rebuilds lost records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import JobNotFound, StorageUnavailable, StoreUnavailable, UploadNotFound
from core.service.domain.manifest import (
    chunk_key,
    frames_key,
    input_key,
    job_prefix,
    manifest_key,
    tombstone_key,
)
from core.service.domain.schema import (
    ChunkLists,
    ControlSpec,
    JobRecord,
    JobStatus,
    Lane,
    PreparedMedia,
    RefineSchedule,
)
from core.service.domain.transitions import TOMBSTONE_TIME
from core.service.domain.uploads import UPLOADS_PREFIX, Upload, upload_key
from core.service.media.uploads import SENDING_GRACE, UploadRequest, new_upload
from core.service.records.orphans import find_orphans
from core.service.records.tombstones import delete_job
from core.service.redis import queue
from core.service.testing.job_store import FakeJobStore
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.storage import FakeStorage
from tests.helpers.fake_world import JOB, MemoryJanitorLock, World
from tests.helpers.jobs import queued_job, refine_spec
from tests.helpers.manifests import record_from_manifest
from worker.lanes.completion import write_manifest
from worker.maintenance.janitor import UPLOAD_GRACE, Janitor


class Office:
    """A janitor whose passes are one interval apart."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lock = MemoryJanitorLock()
        self.janitor = Janitor(world.services("cpu-1"), self.lock)

    def passes(self, count: int = 1) -> None:
        for _ in range(count):
            self.janitor.run()
            self.world.clock.advance(self.world.settings.janitor_interval_seconds)


@pytest.fixture
def office(world: World) -> Office:
    return Office(world)


def test_a_job_without_a_message_gets_one_in_every_pass(world: World, office: Office) -> None:
    world.submit()
    for _ in range(20):
        world.queue.messages.clear()
        office.passes(1)
        assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


def test_a_job_in_work_is_left_alone(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 3600)
    office.passes(5)
    assert world.tasks() == []


def test_a_job_of_a_dead_machine_is_claimable_in_the_pass_after_its_lease(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    world.store.claim(JOB, Lane.GENERATE, "killed", 30)
    office.passes(6)
    assert world.tasks() == []
    office.passes(1)
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]
    world.work(world.maker())
    assert len(world.chunks()) == 3


def test_an_abandoned_lane_is_woken_while_the_other_lane_is_claimed(world: World, office: Office) -> None:
    world.submit(num_frames=64, refine=refine_spec())
    maker = world.maker()
    maker.work()
    maker.work()
    world.queue.messages.clear()
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 3600)
    office.passes(1)
    assert world.tasks() == [queue.TASK_REFINE_WINDOW]


@pytest.mark.parametrize("schedule", ["streaming", "lockstep"])
def test_a_job_whose_refining_worker_was_killed_comes_back(
    world: World, office: Office, schedule: RefineSchedule
) -> None:
    world.submit(num_frames=40, refine=refine_spec(schedule=schedule))
    maker = world.maker()
    for _ in range(3):
        maker.work()
    world.queue.messages.clear()
    world.store.claim(JOB, Lane.REFINE, "killed", 30)
    office.passes(12)
    assert world.tasks() == [queue.TASK_REFINE_WINDOW]
    world.work(maker)
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED


def test_a_job_rebuilt_from_its_manifest_is_refined_to_its_end(world: World) -> None:
    world.submit(num_frames=40, refine=refine_spec())
    maker = world.maker()
    for _ in range(3):
        maker.work()
    world.refiner().work()
    world.queue.messages.clear()
    world.store = FakeJobStore(world.clock)
    rebuilt = Office(world)
    rebuilt.passes(2)
    assert world.tasks() == [queue.TASK_REFINE_WINDOW]
    world.work(world.maker())
    assert [chunk.index for chunk in world.refined()] == [0, 1, 2]


def test_a_job_that_keeps_failing_waits_longer_each_time(world: World, office: Office) -> None:
    world.submit()
    waits: list[int] = []
    for attempts in (1, 2, 3):
        world.queue.messages.clear()
        lease = world.store.claim(JOB, Lane.GENERATE, "worker-1", 30)
        assert lease is not None
        rest = world.settings.janitor_interval_seconds * 2**attempts
        world.store.release(lease, count_attempt=True, rest_seconds=rest)
        waits.append(0)
        while not world.tasks():
            office.passes(1)
            waits[-1] += 1
    assert waits == [3, 5, 9]


def test_many_jobs_cost_one_message_for_each_queue(world: World, office: Office) -> None:
    for number in range(50):
        world.submit(f"job_{number}")
    world.queue.messages.clear()
    office.passes(3)
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]


def test_a_cancelled_job_without_an_active_worker_is_finalised(world: World, office: Office) -> None:
    world.submit()
    world.maker().work()
    world.store.claim(JOB, Lane.GENERATE, "killed", 30)
    assert world.store.request_cancel(JOB).status is JobStatus.CANCELING
    world.queue.messages.clear()
    office.passes(2)
    assert world.store.get(JOB).status is JobStatus.CANCELING
    world.clock.advance(30)
    office.passes(1)
    assert world.store.get(JOB).status is JobStatus.FINALIZING
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_a_finalizing_job_that_lost_its_message_gets_another(world: World, office: Office) -> None:
    world.submit(num_frames=16)
    world.maker().work()
    world.queue.messages.clear()
    office.passes(2)
    assert world.tasks() == [queue.TASK_FINALIZE_JOB]


def test_a_deleted_job_goes_with_its_objects_once_no_lease_lives(world: World, office: Office) -> None:
    world.submit()
    world.maker().work()
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 30)
    world.store.request_delete(JOB)
    office.passes(1)
    assert [*world.storage.list(job_prefix(JOB))]
    world.clock.advance(30)
    office.passes(1)
    assert [*world.storage.list(job_prefix(JOB))] == []
    assert world.store.active() == []


def test_what_a_worker_stores_after_the_deletion_goes_with_the_tombstone(world: World, office: Office) -> None:
    world.submit()
    delete_job(world.store, world.storage, JOB)
    office.passes(1)
    assert [*world.storage.objects] == [tombstone_key(JOB)]
    world.storage.put(chunk_key(JOB, 0), b"late", "video/mp4")
    world.clock.advance(TOMBSTONE_TIME.total_seconds())
    office.passes(1)
    assert not world.storage.objects
    assert not world.store.has_tombstone(JOB)


def test_a_deletion_survives_the_loss_of_redis(world: World) -> None:
    world.submit()
    world.maker().work()
    delete_job(world.store, world.storage, JOB)
    world.store = FakeJobStore(world.clock)
    office = Office(world)
    office.passes(1)
    assert world.store.list().jobs == []
    assert [*world.storage.objects] == [tombstone_key(JOB)]
    assert not world.store.restore(queued_job().model_copy(update={"id": JOB}), ChunkLists())


def test_the_manifest_of_a_deleted_job_does_not_come_back_with_a_late_writer(world: World, office: Office) -> None:
    world.submit()
    world.maker().work()
    record = world.store.get(JOB)
    delete_job(world.store, world.storage, JOB)
    office.passes(1)
    write_manifest(world.services(), record)
    assert [*world.storage.objects] == [tombstone_key(JOB)]


def test_a_manifest_that_could_not_be_written_is_written_by_the_janitor(world: World, office: Office) -> None:
    world.submit()
    world.storage.broken = True
    record = world.store.request_cancel(JOB)
    office.passes(1)
    world.storage.broken = False
    office.passes(1)
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]) == record
    assert world.store.stale_manifests() == []


def test_queued_jobs_and_cancels_survive_the_loss_of_redis(world: World) -> None:
    world.submit("job_queued", num_frames=16)
    world.submit(JOB)
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 30)
    canceling = world.store.request_cancel(JOB)
    write_manifest(world.services(), canceling)
    world.store, world.queue = FakeJobStore(world.clock), FakeTaskQueue()
    Office(world).passes(2)
    world.work(world.maker())
    assert world.store.get("job_queued").status is JobStatus.SUCCEEDED
    assert world.store.get(JOB).status is JobStatus.CANCELED


def test_webhooks_that_may_not_have_arrived_are_sent_again_after_the_loss_of_redis(world: World) -> None:
    world.submit(num_frames=16, webhook_url="https://example.com/hook")
    world.work(world.maker())
    (row,) = world.store.memory.deliveries.values()
    world.store = FakeJobStore(world.clock)
    Office(world).passes(1)
    (again,) = world.store.memory.deliveries.values()
    assert (again.id, again.state) == (row.id, "pending")
    write_manifest(world.services(), world.store.end_webhooks(JOB, 1))
    world.store = FakeJobStore(world.clock)
    Office(world).passes(1)
    assert not world.store.memory.deliveries


def test_events_have_the_same_ids_after_the_loss_of_redis(world: World) -> None:
    world.submit()
    world.maker().work()
    before = [(event.id, event.type) for event in world.store.memory.events[JOB]]
    world.store = FakeJobStore(world.clock)
    Office(world).passes(1)
    assert [(event.id, event.type) for event in world.store.memory.events[JOB]] == before
    world.maker().work()
    assert [event.id for event in world.store.memory.events[JOB]] == ["1-0", "2-0", "3-0", "4-0"]


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
    assert world.store.has_tombstone(JOB), "caches may still hold its chunks, so no other job gets its id"


def test_records_lost_with_redis_are_rebuilt_and_unfinished_jobs_continue(world: World) -> None:
    world.submit()
    world.maker().work()
    world.store.claim(JOB, Lane.GENERATE, "worker-1", 30)
    world.submit("job_done", num_frames=16)
    world.maker().work()
    world.storage.put(f"{job_prefix('job_bad')}manifest.json", b"{", "application/json")
    world.store = FakeJobStore(world.clock)
    world.queue.messages.clear()
    Office(world).passes(2)
    assert len(world.chunks()) == 1
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert world.store.get("job_done").status is JobStatus.SUCCEEDED


def test_manifests_are_read_once(world: World, office: Office) -> None:
    world.submit()
    world.maker().work()
    office.passes(1)
    world.store.purge(JOB)
    office.passes(1)
    with pytest.raises(JobNotFound):
        world.store.get(JOB)


def test_a_broken_object_store_does_not_keep_jobs_from_coming_back(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    world.storage.broken = True
    office.passes(1)
    assert world.tasks() == [queue.TASK_GENERATE_CHUNK]
    assert not office.lock.read


def test_two_janitors_do_not_work_at_once(world: World, office: Office) -> None:
    world.submit()
    world.queue.messages.clear()
    office.lock.taken = True
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


@pytest.mark.parametrize("field", ["video", "control"])
def test_an_upload_stays_while_a_job_waits_for_it_and_goes_when_that_is_prepared(
    world: World, office: Office, field: str
) -> None:
    video = new_upload_of(world)
    control = ControlSpec(type="canny", video=video, scale=1.0, start=0.0, end=1.0)
    world.submit(JOB, **{field: control if field == "control" else video})
    lease = world.store.claim(JOB, Lane.PREPARE, "cpu-1", 10 * 86400)
    assert lease
    world.clock.advance(2 * world.settings.upload_retention_seconds)
    office.passes(1)
    assert world.storage.exists(upload_key(video))
    now = world.clock.now()
    world.store.commit_prepare(lease, PreparedMedia(key=input_key(JOB, lease.token), sha256="a", at=now))
    office.passes(1)
    assert not world.storage.exists(upload_key(video))


def test_a_job_whose_preparer_was_killed_comes_back(world: World, office: Office) -> None:
    world.submit(video="https://example.com/a.mp4")
    world.store.claim(JOB, Lane.PREPARE, "killed", 30)
    world.queue.messages.clear()
    office.passes(1)
    assert world.tasks() == []
    world.clock.advance(31)
    office.passes(1)
    assert world.tasks() == [queue.TASK_PREPARE_MEDIA]


def declared_upload(world: World) -> Upload:
    """One of which nothing was sent."""
    upload = new_upload(UploadRequest(content_type="video/mp4", size_bytes=3), world.settings, world.clock.now())
    world.uploads.create(upload)
    return upload


def test_an_upload_without_a_file_ends_after_its_url(world: World, office: Office) -> None:
    sent, empty = new_upload_of(world), [declared_upload(world) for _ in range(3)]
    world.clock.advance(world.settings.upload_ttl_seconds)
    office.janitor.run()
    assert world.uploads.count() == 4, "a file may still be on its way"
    world.clock.advance(SENDING_GRACE.total_seconds() + 1)
    office.janitor.run()
    assert [one.id for one in world.uploads.older_than(world.clock.now())] == [sent]
    assert empty
    assert world.uploads.unsent(world.clock.now()) == [], "it is looked at once"


def test_a_file_that_comes_after_its_upload_has_ended_goes(world: World, office: Office) -> None:
    upload = declared_upload(world)
    world.clock.advance(world.settings.upload_ttl_seconds + SENDING_GRACE.total_seconds() + 1)
    office.janitor.run()
    assert world.uploads.count() == 0
    world.storage.put(upload.key, b"abc", "video/mp4")
    assert [*find_orphans(world.store, world.storage, world.uploads)] == [], "the janitor is about to remove it"
    world.clock.advance(SENDING_GRACE.total_seconds() + 1)
    office.janitor.run()
    assert not world.storage.exists(upload.key)
    assert not world.uploads.is_discarded(upload.id)


def test_a_deleted_upload_is_removed_with_its_object(world: World, office: Office) -> None:
    upload_id, now = new_upload_of(world), world.clock.now()
    world.uploads.discard(upload_id, now, now + timedelta(hours=1))
    office.janitor.run()
    assert not world.storage.exists(upload_key(upload_id))
    world.storage.put(upload_key(upload_id), b"abc", "video/mp4")  # the URL still took it
    assert [*find_orphans(world.store, world.storage, world.uploads)] == []
    world.clock.advance(3601)
    office.janitor.run()
    assert not world.storage.exists(upload_key(upload_id))
    assert not world.uploads.is_discarded(upload_id)


def test_a_deleted_upload_is_kept_until_no_job_waits_for_it(world: World, office: Office) -> None:
    video, now = new_upload_of(world), world.clock.now()
    world.submit(video=video)
    world.uploads.discard(video, now, now + timedelta(hours=1))
    office.janitor.run()
    assert world.storage.exists(upload_key(video))
    assert [*find_orphans(world.store, world.storage, world.uploads)] == []
    lease = world.store.claim(JOB, Lane.PREPARE, "cpu-1", 30)
    assert lease
    world.store.commit_prepare(lease, PreparedMedia(key=input_key(JOB, lease.token), sha256="a", at=now))
    office.janitor.run()
    assert not world.storage.exists(upload_key(video))


def test_an_old_upload_that_was_never_sent_is_forgotten(world: World, office: Office) -> None:
    """As an older version has stored it."""
    world.uploads.create(declared_upload(world).model_copy(update={"url_expires_at": None}))
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


class RefusingStore(FakeJobStore):
    """Refuses every new job."""

    def create(self, record: JobRecord, limits: KeyLimits | None = None) -> JobRecord:
        del limits
        raise StoreUnavailable(record.id)


def test_the_manifest_of_a_job_that_was_not_accepted_is_removed(world: World) -> None:
    world.store = RefusingStore(world.clock)
    office = Office(world)
    office.lock.mark_manifests_read()
    with pytest.raises(StoreUnavailable):
        world.submit()
    office.passes(1)
    assert manifest_key(JOB) in world.storage.objects
    world.clock.advance(30)
    office.passes(1)
    assert not world.storage.objects
    assert world.store.unfinished_creates(world.clock.now()) == []


def test_what_could_not_be_removed_at_a_jobs_end_is_removed_later(world: World) -> None:
    class Unlisted(FakeStorage):
        listed = False

        def list(self, prefix: str) -> Iterator[str]:
            if not self.listed:
                raise StorageUnavailable
            return super().list(prefix)

    world.storage = Unlisted()
    world.submit(num_frames=48, refine=refine_spec())
    world.work(world.maker())
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert frames_key(JOB, 0) in world.storage.objects
    world.storage.listed = True
    Office(world).passes(1)
    assert frames_key(JOB, 0) not in world.storage.objects
    assert world.store.cleanup_pending(10) == []
