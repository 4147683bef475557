"""Redis loses everything: no job is answered with 404 meanwhile, and everything answered with 2xx is carried out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cli.processes.embedded import EmbeddedRedis
from core.service.clock import SystemClock
from core.service.domain.errors import JobNotFound, StaleLease, StorageUnavailable
from core.service.domain.schema import JobStatus, Lane
from core.service.records.manifest_writer import create_job, write_manifest
from core.service.records.rebuild import RecordRebuilder
from core.service.records.tombstones import delete_job
from core.service.redis.client import connect
from core.service.redis.event_log import RedisEventLog
from core.service.redis.job_store import RedisJobStore
from core.service.redis.outbox import RedisOutbox
from core.service.settings import Settings
from core.service.testing.pauses import FakePauses
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.registries import FakeUploadStore
from core.service.testing.speed import FakeSpeeds
from core.service.testing.storage import FakeStorage
from tests.helpers.jobs import chunk_of, queued_job
from worker.maintenance.janitor import Janitor
from worker.maintenance.janitor_lock import RedisJanitorLock
from worker.runtime.services import Services

HOOK: dict[str, Any] = {"webhook_url": "https://example.com/hook", "webhook_events": ("chunk.completed",)}


class AwayStorage(FakeStorage):
    """Does not answer while `away`."""

    away = False

    def get(self, key: str) -> bytes:
        if self.away:
            raise StorageUnavailable
        return super().get(key)


class Place:
    """Records in a real Redis, objects in memory, as API and CPU worker see them."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.storage = AwayStorage()
        self.store = RedisJobStore(client, SystemClock(), retention_seconds=3600, rebuild=RecordRebuilder(self.storage))
        services = Services(
            self.store,
            self.storage,
            FakeUploadStore(),
            FakeTaskQueue(),
            SystemClock(),
            Settings(),
            "cpu-1",
            FakeSpeeds(),
            FakePauses(),
        )
        self.janitor = Janitor(services, RedisJanitorLock(client))
        self.janitor.run()

    def lose(self) -> None:
        self.client.flushall()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def place(server: EmbeddedRedis) -> Iterator[Place]:
    with connect(server.url()) as client:
        client.flushall()
        yield Place(client)


def test_a_lost_job_is_rebuilt_on_request_before_the_janitor_has_run(place: Place) -> None:
    job = create_job(place.store, place.storage, queued_job())
    place.lose()
    assert place.store.get(job.id).status is JobStatus.QUEUED
    place.lose()
    assert place.store.request_cancel(job.id).status is JobStatus.CANCELED


def test_a_submission_that_a_failover_lost_is_found_once_the_mark_of_the_janitor_is_removed(place: Place) -> None:
    """What docs/operations.md advises: the others are there, and Redis does not know that one is missing."""
    kept, lost = (create_job(place.store, place.storage, queued_job(number)) for number in (1, 2))
    place.janitor.run()
    place.client.delete(*place.client.keys(f"longtake:job:{lost.id}*"))
    with pytest.raises(JobNotFound):
        place.store.get(lost.id)
    place.client.delete("longtake:janitor:manifests_read")
    assert place.store.get(lost.id).status is JobStatus.QUEUED
    place.client.delete(*place.client.keys(f"longtake:job:{lost.id}*"))
    place.janitor.run()
    assert {place.store.get(job.id).id for job in (kept, lost)} == {kept.id, lost.id}


def test_a_job_that_never_was_is_not_found_before_and_after(place: Place) -> None:
    place.lose()
    for _ in range(2):
        with pytest.raises(JobNotFound):
            place.store.get("job_nowhere")
        with pytest.raises(JobNotFound):
            place.store.get("../secret")
        place.janitor.run()


def test_a_job_is_never_404_while_its_existence_is_unknown(place: Place) -> None:
    job = create_job(place.store, place.storage, queued_job())
    place.lose()
    place.storage.away = True
    with pytest.raises(StorageUnavailable):
        place.store.get(job.id)
    place.storage.away = False
    assert place.store.get(job.id).id == job.id


def test_a_rebuilt_job_has_its_owner_and_its_links(place: Place) -> None:
    owned = {"owner": "key_a", "link_secret": "5" * 32}
    job = create_job(place.store, place.storage, queued_job(1).model_copy(update=owned))
    create_job(place.store, place.storage, queued_job(2).model_copy(update={"owner": "key_b"}))
    revoked = place.store.revoke_links(job.id, "6" * 32)
    write_manifest(place.store, place.storage, revoked)
    place.lose()
    place.janitor.run()
    assert place.store.get(job.id).link_secret == "6" * 32
    assert [found.id for found in place.store.list(owner="key_a").jobs] == [job.id]
    place.store.request_cancel(job.id)
    assert [found.id for found in place.store.list(owner="key_a", status=JobStatus.CANCELED).jobs] == [job.id]
    place.store.request_delete(job.id)
    place.store.purge(job.id)
    assert not place.client.keys("longtake:jobs:owner:key_a*")


def test_a_deleted_job_stays_deleted(place: Place) -> None:
    job = create_job(place.store, place.storage, queued_job())
    delete_job(place.store, place.storage, job.id)
    place.lose()
    with pytest.raises(JobNotFound):
        place.store.get(job.id)
    place.janitor.run()
    place.lose()
    with pytest.raises(JobNotFound):
        place.store.get(job.id)


def test_an_acknowledged_cancel_and_webhook_survive_the_loss_and_events_keep_their_ids(place: Place) -> None:
    job = create_job(place.store, place.storage, queued_job(**HOOK))
    lease = place.store.claim(job.id, Lane.GENERATE, "worker-1", 600)
    assert lease
    write_manifest(place.store, place.storage, place.store.commit_chunk(lease, chunk_of(job, 0), "f1"))
    write_manifest(place.store, place.storage, place.store.request_cancel(job.id))
    log, outbox = RedisEventLog(place.client), RedisOutbox(place.client)
    before, (webhook,) = log.read(job.id), outbox.of_job(job.id)
    place.lose()
    place.janitor.run()
    after = place.store.get(job.id)
    assert (after.cancel_requested, after.status) == (True, JobStatus.FINALIZING)
    assert [(event.id, event.type) for event in log.read(job.id)] == [(event.id, event.type) for event in before]
    assert [row.id for row in outbox.of_job(job.id)] == [webhook.id]


def test_a_stream_that_continues_after_the_loss_repeats_no_event(place: Place) -> None:
    job = create_job(place.store, place.storage, queued_job())
    lease = place.store.claim(job.id, Lane.GENERATE, "worker-1", 600)
    assert lease
    write_manifest(place.store, place.storage, place.store.commit_chunk(lease, chunk_of(job, 0), "f1"))
    heard = RedisEventLog(place.client).read(job.id)[-1].id
    place.lose()
    place.janitor.run()
    log = RedisEventLog(place.client)
    assert log.read(job.id, heard) == []
    again = place.store.claim(job.id, Lane.GENERATE, "worker-2", 600)
    assert again
    place.store.commit_chunk(again, chunk_of(job, 1), "f1")
    assert [event.id for event in log.read(job.id, heard)] == ["4-0"]


def test_a_worker_that_outlived_the_loss_commits_nothing(place: Place) -> None:
    job = create_job(place.store, place.storage, queued_job())
    old = place.store.claim(job.id, Lane.GENERATE, "worker-1", 600)
    assert old
    place.lose()
    place.janitor.run()
    assert place.store.claim(job.id, Lane.GENERATE, "worker-2", 600)
    with pytest.raises(StaleLease):
        place.store.commit_chunk(old, chunk_of(job, 0), "f1")
    assert not place.store.renew(old, 600)
