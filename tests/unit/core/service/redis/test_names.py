"""Parts of the Redis adapters that need no server: cursors, index order, log entries, keys, the client's settings."""

from __future__ import annotations

from datetime import timedelta

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from core.service.domain.errors import StoreError
from core.service.domain.schema import EventType, Lane, StepProgress
from core.service.domain.transitions import NewEvent
from core.service.redis import client, keys
from core.service.redis.errors import raises_store_errors
from core.service.redis.event_log import BLOCK_SECONDS, event_fields, progress_fields, progress_from_fields
from tests.helpers.jobs import DAY_ONE


def test_progress_survives_being_stored() -> None:
    progress = StepProgress(chunk_index=2, step=3, steps=9, at=DAY_ONE + timedelta(microseconds=1))
    assert progress_from_fields(progress_fields(progress)) == progress


def test_a_log_entry_is_text() -> None:
    fields = event_fields(NewEvent(EventType.JOB_STARTED, DAY_ONE, {"version": 0}))
    assert fields == {"type": "job.started", "at": "2026-01-01T12:00:00+00:00", "data": '{"version": 0}'}


def test_no_key_of_one_job_is_the_record_of_another() -> None:
    others = [
        keys.events_key("a"),
        keys.deliveries_key("a"),
        *(key("a", lane) for lane in Lane for key in (keys.lease_key, keys.progress_key)),
    ]
    assert all(not key.endswith(keys.job_key("").removeprefix("longtake:job:")) for key in others)
    assert len({keys.job_key("a"), *others}) == 3 + 2 * len(Lane)


def test_a_blocking_read_ends_before_the_socket_gives_up() -> None:
    assert min(client.STREAM.read_seconds, client.WORKER.read_seconds) >= BLOCK_SECONDS * 2


def test_the_client_notices_dead_connections() -> None:
    options = client.connect("redis://127.0.0.1:1/3").connection_pool.connection_kwargs
    assert options["db"] == 3
    assert options["decode_responses"] is True
    assert options["socket_keepalive"] is True
    assert options["health_check_interval"] == client.HEALTH_CHECK_SECONDS


def test_a_lost_connection_is_named() -> None:
    @raises_store_errors
    def ask() -> None:
        raise RedisConnectionError("gone")

    with pytest.raises(StoreError, match="gone"):
        ask()


def test_a_mistake_of_ours_is_not_taken_for_a_failure_of_redis() -> None:
    @raises_store_errors
    def ask() -> None:
        raise KeyError("record")

    with pytest.raises(KeyError):
        ask()


def test_a_full_redis_is_a_store_error_that_says_so() -> None:
    @raises_store_errors
    def write() -> None:
        raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")

    with pytest.raises(StoreError, match="Redis is full"):
        write()
