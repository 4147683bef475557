"""A change of a job is done whole or not at all, also if Redis loses its scripts; their texts are not sent again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import redis

from core.service.domain.schema import JobStatus, Lane
from core.service.domain.uploads import Upload
from core.service.redis import keys
from core.service.redis.job_store import RedisJobStore
from core.service.redis.transaction import Transactions
from core.service.redis.upload_store import RedisUploadStore
from core.service.testing.clock import FakeClock
from tests.helpers.jobs import DAY_ONE, chunk_of, queued_job
from tests.helpers.store_contract.ports import ERROR

MODEL = queued_job().spec.model
LONG = 3600.0
MANY = 60
"""Looks at the clock, more than the changes of a job need."""


class FlushingClock(FakeClock):
    """Redis loses its scripts whenever somebody asks for the time, so many times: also between the reads of a
    transaction and its writes."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self._client = client
        self.left = 0

    def now(self) -> datetime:
        if self.left:
            self.left -= 1
            self._client.script_flush()
        return super().now()


def calls_of(client: redis.Redis, command: str) -> int:
    stats: dict[str, Any] = client.info("commandstats")  # pyright: ignore[reportAssignmentType]
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def is_consistent(client: redis.Redis, job_id: str) -> bool:
    """Whether the log has the events of the record."""
    record = RedisJobStore(client, FakeClock(), retention_seconds=LONG).get(job_id)
    return record.num_events == client.xlen(keys.events_key(job_id))


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_job_lives_through_the_loss_of_all_scripts_at_any_moment(client: redis.Redis, times: int) -> None:
    clock = FlushingClock(client)
    store = RedisJobStore(client, clock, retention_seconds=LONG)

    def lose_scripts() -> None:
        clock.left = times

    lose_scripts()
    job = store.create(queued_job(num_frames=48).model_copy(update={"owner": "key_a"}))
    assert store.ready(Lane.GENERATE, MODEL, 1) == [job.id]
    for index in range(2):
        lose_scripts()
        lease = store.claim_next([Lane.GENERATE], MODEL, "w1", LONG)
        assert lease
        assert is_consistent(client, job.id)
        lose_scripts()
        store.commit_chunk(lease, chunk_of(store.get(job.id), index), "f1")
        assert is_consistent(client, job.id)
        assert store.ready(Lane.GENERATE, MODEL, 1) == [job.id]
    lose_scripts()
    lease = store.claim_next([Lane.GENERATE], MODEL, "w1", LONG)
    assert lease
    assert store.ready(Lane.GENERATE, MODEL, 1) == []
    lose_scripts()
    record = store.commit_and_claim(lease, chunk_of(store.get(job.id), 2), "f1", LONG)
    assert record.status is JobStatus.FINALIZING
    assert store.ready(Lane.FINALIZE, "", 1) == [job.id]
    lose_scripts()
    store.purge(job.id)
    assert store.ready(Lane.FINALIZE, "", 1) == []


def test_an_upload_is_written_and_removed_after_the_loss_of_all_scripts(client: redis.Redis) -> None:
    store = RedisUploadStore(client)
    upload = Upload(
        id="upl_a",
        owner="key_a",
        size_bytes=1000,
        content_type="image/png",
        created_at=DAY_ONE,
        expires_at=DAY_ONE,
    )
    client.script_flush()
    store.create(upload)
    assert client.hget(keys.stored_bytes_of("key_a"), keys.TOTAL_BYTES) == str(upload.size_bytes)
    client.script_flush()
    store.remove(upload.id)
    assert client.hget(keys.stored_bytes_of("key_a"), keys.TOTAL_BYTES) == "0"


def test_no_change_of_a_job_sends_the_text_of_a_script(client: redis.Redis) -> None:
    store = RedisJobStore(client, FakeClock(), retention_seconds=LONG)

    def live(number: int) -> None:
        job = store.create(queued_job(number, num_frames=32))
        lease = store.claim_next([Lane.GENERATE], MODEL, "w1", LONG)
        assert lease
        store.commit_chunk(lease, chunk_of(store.get(job.id), 0), "f1")
        store.live_statuses([store.create(queued_job(number + 100))])
        store.fail(job.id, ERROR)

    live(1)
    loaded, sent = calls_of(client, "script|load"), calls_of(client, "eval")
    live(2)
    assert (calls_of(client, "script|load"), calls_of(client, "eval")) == (loaded, sent)


class ForgetfulClock(FlushingClock):
    """No script stays on the server. It fails the test where that is asked for without an end."""

    def now(self) -> datetime:
        assert self.left < MANY, "it goes round and round"
        self.left += 2
        return super().now()


def test_a_server_that_keeps_no_scripts_makes_nobody_go_round_and_round(client: redis.Redis) -> None:
    store = RedisJobStore(client, ForgetfulClock(client), retention_seconds=LONG)
    job = store.create(queued_job(num_frames=32))
    lease = store.claim_next([Lane.GENERATE], MODEL, "w1", LONG)
    assert lease
    store.commit_chunk(lease, chunk_of(store.get(job.id), 0), "f1")
    assert is_consistent(client, job.id)
    store.purge(job.id)


def test_a_transaction_keeps_words_as_they_are(client: redis.Redis) -> None:
    def write(pipe: Any) -> None:
        pipe.set("text", "a b\r\n$1 ü CALL")
        pipe.rpush("list", *map(str, range(1000)))
        pipe.set("float", 0.1)

    Transactions(client).write(write)
    assert client.get("text") == "a b\r\n$1 ü CALL"
    assert client.llen("list") == 1000
    assert client.get("float") == "0.1"
