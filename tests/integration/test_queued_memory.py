"""What a job that waits costs Redis in memory: many wait where few run."""

from __future__ import annotations

import redis

from core.service.clock import SystemClock
from core.service.domain.ids import new_job_id
from core.service.domain.schema import EventType, JobRecord, JobStatus
from core.service.redis import keys
from core.service.redis.event_log import RedisEventLog
from core.service.redis.job_store import RedisJobStore
from tests.helpers.jobs import job_spec

JOBS = 500
MOST_BYTES = 4000
"""Per queued job, all keys and its part of every index included."""
PROMPT = "a red circle moving slowly to the left over a striped background"


def queue(client: redis.Redis, count: int) -> list[JobRecord]:
    """Jobs of four API keys, as the API stores them."""
    store = RedisJobStore(client, SystemClock(), retention_seconds=3600)
    created = [store.create(as_admitted(f"key_{number % 4}")) for number in range(count)]
    for record in created:
        store.manifest_stored(record)
    return created


def as_admitted(owner: str) -> JobRecord:
    return JobRecord(
        id=new_job_id(),
        status=JobStatus.QUEUED,
        spec=job_spec(prompt=PROMPT),
        owner=owner,
        link_secret="s" * 43,
        request_sha256="0" * 64,
        request_id="r" * 26,
        created_at=SystemClock().now(),
    )


def used_memory(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def test_a_queued_job_fits_in_four_kilobytes(client: redis.Redis) -> None:
    queue(client, 1)  # scripts, and the keys that all jobs share
    before = used_memory(client)
    queue(client, JOBS)
    assert (used_memory(client) - before) / JOBS <= MOST_BYTES


def test_an_event_log_of_one_entry_reserves_no_room_for_more(client: redis.Redis) -> None:
    (job,) = queue(client, 1)
    assert (client.memory_usage(keys.events_key(job.id)) or 0) < 1000
    assert [(event.id, event.type) for event in RedisEventLog(client).read(job.id)] == [("1-0", EventType.JOB_QUEUED)]
