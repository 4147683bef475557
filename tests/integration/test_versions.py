"""Other versions beside this one, on a real Redis: what they wrote is read, kept or ignored, never fatal."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from pydantic import TypeAdapter, ValidationError

from api.app import create_app
from api.backends.ports import Ports
from core.service.admission.catalog import Catalog
from core.service.domain.errors import StoreDamaged
from core.service.domain.ids import new_upload_id
from core.service.domain.manifest import chunk_key, job_prefix, manifest_key, video_key
from core.service.domain.priority import Priority
from core.service.domain.scheduling import Policy
from core.service.domain.schema import JobRecord, JobStatus, Lane
from core.service.domain.uploads import upload_key
from core.service.media.uploads import UploadRequest, new_upload
from core.service.records.job_order import index_member
from core.service.records.manifest_writer import write_manifest
from core.service.records.orphans import find_orphans
from core.service.records.stored_jobs import read_job
from core.service.redis import keys, queue
from core.service.redis.deliveries import RedisDeliveries
from core.service.redis.event_log import RedisEventLog
from core.service.redis.job_store import RedisJobStore
from core.service.redis.lane_claims import HEADS
from core.service.redis.outbox import MAX_UNREADABLE, RedisOutbox
from core.service.redis.pauses import RedisPauses
from core.service.redis.schedule import Queue, Schedule
from core.service.redis.upload_store import RedisUploadStore
from core.service.redis.usage import RedisUsage
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.settings import Settings
from core.service.testing.api_keys import FakeApiKeys
from core.service.testing.idempotency import FakeIdempotencyKeys
from core.service.testing.speed import FakeSpeeds
from core.service.testing.storage import FakeObjectReader
from core.service.testing.usage import FakeRequestCounts, FakeUsage
from tests.helpers.clips import picture
from tests.helpers.fake_world import MODEL, MemoryJanitorLock, World
from tests.helpers.jobs import chunk_of, chunks_of, progress_of, queued_job
from tests.helpers.store_contract.ports import LONG, worker
from tests.helpers.versions import (
    FUTURE,
    VERSION_0_1_0,
    as_an_older_version_wrote_it,
    change_row,
    load_objects,
    load_redis,
    row,
)
from worker.maintenance.janitor import Janitor

OLD_JOBS = ("job_a", "job_b")
UNREADABLE = {"status": "paused"}
"""What a newer version may have written, and this one cannot read."""


class RedisWorld(World):
    """A World whose records and uploads are in Redis."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self.store = RedisJobStore(client, self.clock, retention_seconds=7 * 86400.0)  # pyright: ignore[reportAttributeAccessIssue]
        self.uploads = RedisUploadStore(client)  # pyright: ignore[reportAttributeAccessIssue]

    def clean(self) -> None:
        """A pass of the janitor, which finds that Redis has lost everything where it has."""
        Janitor(self.services("cpu-1"), MemoryJanitorLock()).run()

    def read_json(self, key: str) -> dict[str, Any]:
        return json.loads(self.storage.get(key))


@pytest.fixture
def world(client: redis.Redis) -> RedisWorld:
    return RedisWorld(client)


def calm_video() -> bytes:
    """The video of the dump's jobs, made by this version alone."""
    world = World()
    world.submit()
    world.work(world.maker())
    return world.storage.get(video_key("job_a"))


# The version before


def test_jobs_of_the_previous_version_are_queued_and_finished(world: RedisWorld, client: redis.Redis) -> None:
    load_redis(VERSION_0_1_0, client)
    load_objects(VERSION_0_1_0, world.storage)
    world.clean()
    world.work(world.maker())
    calm = calm_video()
    for job_id in OLD_JOBS:
        assert world.store.get(job_id).status is JobStatus.SUCCEEDED
        assert world.storage.get(video_key(job_id)) == calm
    types = [event.type for event in RedisEventLog(client).read("job_a")]
    assert types == ["job.queued", "job.started", *["chunk.completed"] * 3, "job.succeeded"]
    assert {row.event_type for row in RedisOutbox(client).of_job("job_a")} == {"chunk.completed", "job.succeeded"}


def test_queued_jobs_of_the_version_before_count_as_normal_ones(world: RedisWorld, client: redis.Redis) -> None:
    load_redis(VERSION_0_1_0, client)
    numbers = {priority: world.store.counts(["sprites"]).queued["sprites", priority].count for priority in Priority}
    assert numbers == {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 0}


def test_waiting_jobs_of_the_version_before_get_the_manifest_that_they_lacked(
    world: RedisWorld, client: redis.Redis
) -> None:
    load_redis(VERSION_0_1_0, client)
    assert not world.storage.exists(manifest_key("job_b"))
    world.clean()
    client.flushall()
    world.clean()
    world.work(world.maker())
    assert [world.store.get(job_id).status for job_id in OLD_JOBS] == [JobStatus.SUCCEEDED] * 2


def test_manifests_of_the_version_before_are_rebuilt_and_their_jobs_end(world: RedisWorld) -> None:
    load_objects(VERSION_0_1_0, world.storage)
    world.clean()
    world.work(world.maker())
    assert world.storage.get(video_key("job_a")) == calm_video()


def queued_with_a_picture(world: RedisWorld) -> JobRecord:
    """A job that begins with a picture, which waits to be prepared."""
    upload_id = new_upload_id()
    world.storage.put(upload_key(upload_id), picture((200, 100, 50)), "image/png")
    record = world.submit(image=upload_id)
    world.queue.messages.clear()
    return record


def test_a_job_of_a_version_that_knew_no_such_queues_is_put_into_them(world: RedisWorld, client: redis.Redis) -> None:
    record = queued_with_a_picture(world)
    Schedule(client, Policy()).forget(Queue.of(Lane.PREPARE, MODEL), record.id, world.clock.now().timestamp())
    client.zrem(keys.SCHEDULED_JOBS, index_member(record))
    world.clean()
    assert world.tasks() == [queue.TASK_PREPARE_MEDIA]
    world.work(world.maker())
    assert world.store.get(record.id).status is JobStatus.SUCCEEDED


def test_a_job_begun_by_an_older_worker_leaves_the_prepare_queue(world: RedisWorld, client: redis.Redis) -> None:
    job_id = queued_with_a_picture(world).id
    begun = [chunk_of(queued_job(), 0).model_dump(mode="json")]
    as_an_older_version_wrote_it(client, job_id, status="running", chunks=begun)
    assert world.store.ready(Lane.PREPARE, "", 10) == [job_id]
    assert world.store.claim(job_id, Lane.PREPARE, "cpu-1", LONG) is None
    assert world.store.ready(Lane.PREPARE, "", 10) == []
    assert world.store.ready(Lane.GENERATE, MODEL, 1) == [job_id]


def test_the_chunks_in_an_older_record_are_read_and_move_to_their_list_with_its_first_change(
    world: RedisWorld, client: redis.Redis
) -> None:
    load_redis(VERSION_0_1_0, client)
    load_objects(VERSION_0_1_0, world.storage)
    before = world.chunks("job_a")
    assert (len(before), world.store.get("job_a").chunks.count) == (1, 1)
    assert not client.exists(keys.chunks_key("job_a", "preview"))
    seen = world.store.look("job_a")
    assert seen.record == world.store.get("job_a")
    assert (world.store.looks(["job_a"]), world.store.marks(["job_a"])) == ([None], [None])
    world.store.request_cancel("job_a")
    assert client.llen(keys.chunks_key("job_a", "preview")) == 1
    assert [*world.chunks("job_a")] == [*before]
    assert not {"chunk_versions", "refined_versions"} & {*row(client, "job_a")}


def test_a_long_job_of_an_older_version_gets_pages_with_its_next_manifest(
    world: RedisWorld, client: redis.Redis
) -> None:
    record = world.submit(num_frames=16 * 600)
    inside = [chunk.model_dump(mode="json") for chunk in chunks_of(record, 599)]
    as_an_older_version_wrote_it(client, "job_a", status="running", chunks=inside, revision=7)
    write_manifest(world.store, world.storage, world.store.get("job_a"))
    lease = world.store.claim("job_a", Lane.GENERATE, "w1", LONG)
    assert lease
    committed = world.store.commit_chunk(lease, chunk_of(record, 599), "f1")
    write_manifest(world.store, world.storage, committed)
    stored, lists = read_job(world.storage, "job_a")
    assert (stored, lists.preview) == (committed, tuple(world.chunks("job_a")))
    assert len(lists.preview) == 600


def test_the_version_before_refuses_records_and_manifests_of_this_one(world: RedisWorld, client: redis.Redis) -> None:
    """It takes a job that it cannot read for one of another version and leaves it alone; read as a job without chunks
    it would begin the video again."""
    world.submit()
    world.maker().work()
    older: TypeAdapter[tuple[object, ...]] = TypeAdapter(tuple[object, ...])
    for stored in (row(client, "job_a"), world.read_json(manifest_key("job_a"))["job"]):
        with pytest.raises(ValidationError):
            older.validate_python(stored["chunks"])
    assert world.read_json(manifest_key("job_a"))["version"] == 2


def test_a_cancel_and_a_deletion_of_old_jobs_work(world: RedisWorld, client: redis.Redis) -> None:
    load_redis(VERSION_0_1_0, client)
    load_objects(VERSION_0_1_0, world.storage)
    assert world.store.request_cancel("job_b").status is JobStatus.CANCELED
    world.store.request_delete("job_a")
    world.clean()
    assert list(world.storage.list(job_prefix("job_a"))) == []


def test_a_status_that_a_worker_without_keys_wrote_is_listed_right_and_goes_with_its_job(
    world: RedisWorld, client: redis.Redis
) -> None:
    usage = RedisUsage(client, world.clock)
    world.store.create(queued_job().model_copy(update={"owner": "key_a"}))
    (job,) = world.store.list(owner="key_a", status=JobStatus.QUEUED).jobs
    change_row(client, job.id, status="succeeded", revision=job.revision + 1)
    assert not world.store.list(owner="key_a", status=JobStatus.QUEUED).jobs
    assert [listed.id for listed in world.store.list(owner="key_a").jobs] == [job.id]
    assert usage.of("key_a").unfinished_jobs == 1, "as operations.md says"
    world.store.purge(job.id)
    assert usage.of("key_a").unfinished_jobs == 0
    assert not client.keys("longtake:jobs:owner:key_a*")


# A newer one, before a roll-back or while both run


def test_unknown_fields_survive_a_whole_job_and_a_lost_redis(world: RedisWorld, client: redis.Redis) -> None:
    world.submit()
    spec = row(client, "job_a")["spec"] | FUTURE | {"webhook_events": ["job.paused"]}
    change_row(client, "job_a", **FUTURE, spec=spec, lanes={"upscale": {"token": 3}})
    maker = world.maker()
    maker.work()
    chunks = keys.chunks_key("job_a", "preview")
    client.lset(chunks, 0, json.dumps(json.loads(str(client.lindex(chunks, 0))) | FUTURE))
    maker.work()
    client.flushall()
    world.clean()
    world.work(maker)
    for last in (row(client, "job_a"), world.read_json(manifest_key("job_a"))["job"]):
        assert last["status"] == "succeeded"
        assert last["spec"]["webhook_events"] == ["job.paused"]
        assert last["lanes"]["upscale"]["token"] == 3
        assert [FUTURE.items() <= part.items() for part in (last, last["spec"])] == [True] * 2
    (first, *_), rest = client.lrange(chunks, 0, -1), world.read_json(manifest_key("job_a"))["chunks"]["rest"]  # pyright: ignore[reportGeneralTypeIssues]
    assert [FUTURE.items() <= chunk.items() for chunk in (json.loads(first), rest[0])] == [True] * 2


@pytest.mark.parametrize(
    "changes",
    [
        UNREADABLE,
        {"error": "a sentence"},
        {"created_at": "soon"},
    ],
    ids=["status", "type", "time"],
)
def test_a_job_that_cannot_be_read_breaks_no_list_no_pass_and_no_claim(
    world: RedisWorld, client: redis.Redis, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    world.submit("job_a")
    world.submit("job_b")
    change_row(client, "job_a", **changes)
    assert [record.id for record in world.store.list().jobs] == ["job_b"]
    assert [record.id for record in world.store.active()] == ["job_b"]
    with pytest.raises(StoreDamaged):
        world.store.get("job_a")
    with caplog.at_level(logging.ERROR):
        world.clean()
    assert "the record of job_a cannot be read" in caplog.text
    world.work(world.maker())
    assert world.store.get("job_b").status is JobStatus.SUCCEEDED


def test_the_api_lists_the_others_and_says_that_a_job_cannot_be_read_now(
    world: RedisWorld, client: redis.Redis
) -> None:
    world.submit("job_a")
    world.submit("job_b")
    change_row(client, "job_a", **UNREADABLE)
    settings = Settings()
    ports = Ports(
        store=world.store,
        events=RedisEventLog(client),
        workers=RedisWorkerRegistry(client),
        pauses=RedisPauses(client),
        storage=world.storage,
        objects=FakeObjectReader(world.storage),
        uploads=world.uploads,
        idempotency=FakeIdempotencyKeys(),
        speeds=FakeSpeeds(),
        keys=FakeApiKeys(),
        usage=FakeUsage(),
        request_counts=FakeRequestCounts(),
        deliveries=RedisDeliveries(client),
        queue=world.queue,
        clock=world.clock,
        catalog=Catalog(settings),
    )
    with TestClient(create_app(settings, ports)) as api:
        assert [job["id"] for job in api.get("/jobs").json()["jobs"]] == ["job_b"]
        answer = api.get("/jobs/job_a")
        assert (answer.status_code, answer.json()["code"]) == (503, "store_damaged")
        assert int(answer.headers["Retry-After"]) > 0
        assert api.delete("/jobs/job_a").status_code == 503


def test_a_row_that_is_no_json_is_left_out(world: RedisWorld, client: redis.Redis) -> None:
    world.submit("job_a")
    client.hset(keys.job_key("job_a"), "record", "{")
    assert world.store.list().jobs == []
    world.clean()


def test_many_unreadable_jobs_at_the_head_of_a_queue_delay_no_other(world: RedisWorld, client: redis.Redis) -> None:
    for number in range(2 * HEADS + 1):
        world.submit(f"job_{number}")
        change_row(client, f"job_{number}", **UNREADABLE)
        world.clock.advance(1)
    world.submit("job_last")
    assert [head.record.id for head in world.store.queued_work()] == ["job_last"]
    lease = world.store.claim_next([Lane.GENERATE], MODEL, "w1", LONG)
    assert lease
    assert lease.job_id == "job_last"
    assert world.store.claim_next([Lane.GENERATE], MODEL, "w2", LONG) is None


def test_a_queue_of_a_lane_from_the_future_breaks_no_pass(world: RedisWorld, client: redis.Redis) -> None:
    client.sadd(keys.QUEUES, "upscale:sprites")
    world.submit()
    assert [head.record.id for head in world.store.queued_work()] == ["job_a"]
    world.clean()


def test_an_unreadable_job_of_an_older_version_is_not_counted_as_queued_again(
    world: RedisWorld, client: redis.Redis
) -> None:
    world.submit()
    change_row(client, "job_a", **UNREADABLE)
    client.delete(keys.SCHEDULED_JOBS)
    assert world.store.reindex() == 0


def test_objects_of_a_newer_version_are_removed_neither_with_their_job_nor_as_orphans(
    world: RedisWorld, client: redis.Redis
) -> None:
    world.submit(num_frames=16)
    newer = {f"{job_prefix('job_a')}sound/00000.opus", f"{job_prefix('job_a')}captions.vtt"}
    for key in newer:
        world.storage.put(key, b"?", "text/plain")
    world.work(world.maker())
    assert newer <= {*world.storage.list(job_prefix("job_a"))}
    assert [*find_orphans(world.store, world.storage, world.uploads)] == []
    change_row(client, "job_a", **UNREADABLE)
    assert [*find_orphans(world.store, world.storage, world.uploads)] == []


def test_objects_of_a_job_whose_manifest_only_a_newer_version_reads_are_no_orphans(world: RedisWorld) -> None:
    world.storage.put(manifest_key("job_a"), json.dumps({"version": 3, "job": {"id": "job_a"}}).encode(), "text/plain")
    world.storage.put(chunk_key("job_a", 0), b"?", "video/mp4")
    world.clean()
    assert world.store.list().jobs == []
    assert [*find_orphans(world.store, world.storage, world.uploads)] == []


def test_a_webhook_that_cannot_be_read_keeps_no_other_from_being_sent(world: RedisWorld, client: redis.Redis) -> None:
    world.submit(num_frames=16, webhook_url="https://example.com/hook", webhook_events=("job.succeeded",))
    world.work(world.maker())
    outbox, deliveries = RedisOutbox(client), keys.deliveries_key("job_a")
    (known,) = client.hvals(deliveries)  # pyright: ignore[reportGeneralTypeIssues]
    newer = json.loads(str(known)) | {"id": "msg_new", "event_type": "job.paused"}
    client.hset(deliveries, "msg_new", json.dumps(newer))
    client.zadd(keys.OUTBOX_DUE, {keys.outbox_member("job_a", "msg_new"): 0})
    assert [row.event_type for row in outbox.take_due(10, 30.0)] == ["job.succeeded"]
    assert [row.event_type for row in outbox.of_job("job_a")] == ["job.succeeded"]
    assert client.hget(deliveries, "msg_new") == json.dumps(newer)


def test_however_many_webhooks_cannot_be_read_the_others_are_sent(world: RedisWorld, client: redis.Redis) -> None:
    """More than are remembered, of jobs of their own, and due before."""
    world.submit(num_frames=16, webhook_url="https://example.com/hook", webhook_events=("job.succeeded",))
    world.work(world.maker())
    with client.pipeline() as pipe:
        for number in range(MAX_UNREADABLE + 200):
            job_id = f"job_{number}"
            pipe.hset(keys.deliveries_key(job_id), "msg_0_a", json.dumps({"event_type": "job.paused"}))
            pipe.zadd(keys.OUTBOX_DUE, {keys.outbox_member(job_id, "msg_0_a"): 0})
        pipe.execute()
    outbox = RedisOutbox(client)
    assert [row.job_id for row in outbox.take_due(100, 30.0)] == ["job_a"]
    assert outbox.take_due(100, 30.0) == []


def test_fields_of_a_webhook_from_the_future_are_kept_when_a_try_is_noted(
    world: RedisWorld, client: redis.Redis
) -> None:
    world.submit(num_frames=16, webhook_url="https://example.com/hook", webhook_events=("job.succeeded",))
    world.work(world.maker())
    deliveries = keys.deliveries_key("job_a")
    ((name, text),) = client.hgetall(deliveries).items()  # pyright: ignore[reportAttributeAccessIssue]
    client.hset(deliveries, name, json.dumps(json.loads(text) | FUTURE))
    outbox = RedisOutbox(client)
    (due,) = outbox.take_due(10, 30.0)
    outbox.record(due.model_copy(update={"state": "delivered", "next_attempt_at": None}))
    assert FUTURE.items() <= json.loads(str(client.hget(deliveries, name))).items()


def test_a_worker_of_a_kind_from_the_future_hides_no_other(client: redis.Redis) -> None:
    registry = RedisWorkerRegistry(client)
    registry.report(worker("w1"), LONG)
    newer = worker("w2").model_dump(mode="json")
    client.set(keys.worker_key("w2"), json.dumps(newer | {"kind": "upscale"}))
    client.set(keys.worker_key("w3"), json.dumps(newer | {"name": "w3", **FUTURE}))
    client.sadd(keys.WORKERS, "w2", "w3")
    assert [status.name for status in registry.all()] == ["w1", "w3"]


def test_an_event_of_an_unknown_type_is_passed_on_by_its_name(world: RedisWorld, client: redis.Redis) -> None:
    world.submit()
    fields: dict[Any, Any] = {"type": "job.paused", "at": "2026-01-01T00:00:00+00:00", "data": "{}", "more": "?"}
    client.xadd(keys.events_key("job_a"), fields, id="2-0")
    assert [str(event.type) for event in RedisEventLog(client).read("job_a")] == ["job.queued", "job.paused"]


def test_progress_that_cannot_be_read_is_no_progress(world: RedisWorld, client: redis.Redis) -> None:
    world.submit()
    client.xadd(keys.progress_key("job_a", Lane.GENERATE), {"progress": '{"percent": 12}'})
    assert progress_of(world.store, "job_a") is None
    client.xadd(keys.progress_key("job_a", Lane.REFINE), {"percent": "12"})
    assert progress_of(world.store, "job_a", Lane.REFINE) is None


def test_an_upload_that_cannot_be_read_is_left_alone_and_hides_no_other(world: RedisWorld, client: redis.Redis) -> None:
    request = UploadRequest(content_type="video/mp4", size_bytes=3)
    known, newer = (new_upload(request, world.settings, world.clock.now()) for _ in range(2))
    for upload in (known, newer):
        world.uploads.create(upload)
        world.storage.put(upload_key(upload.id), b"abc", "video/mp4")
    client.set(keys.upload_key(newer.id), json.dumps({"id": newer.id, "parts": 3}))
    with pytest.raises(StoreDamaged):
        world.uploads.get(newer.id)
    assert [*find_orphans(world.store, world.storage, world.uploads)] == []
    world.clock.advance(10 * world.settings.upload_retention_seconds)
    world.clean()
    assert {*world.storage.list("uploads/")} == {newer.key}


def test_the_dump_is_of_the_version_that_it_names() -> None:
    told = json.loads(Path(VERSION_0_1_0).read_text())
    assert "revision" not in told["redis"][keys.job_key("job_a")]["value"]["record"]
    assert keys.SCHEDULED_JOBS not in told["redis"]
