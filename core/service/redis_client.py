"""How Longtake talks to Redis: the client, the names of all keys, and connection errors under our own name.

Knows no job logic. Values are text (decode_responses), every key starts with "longtake:".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from core.service.errors import StoreError
from core.service.schema import Lane

SOCKET_TIMEOUT_SECONDS = 15.0
"""Longest wait for an answer. A blocking read must ask for less than this."""
CONNECT_TIMEOUT_SECONDS = 5.0
HEALTH_CHECK_SECONDS = 15
"""A connection idle this long is pinged before use: a restarted Redis is noticed before a command is lost."""
RETRIES = 6
"""With the backoff below about three seconds: a Redis that restarts is waited for, one that is gone is reported."""

OUTBOX_DUE = "longtake:outbox:due"
WORKERS = "longtake:workers"
ALL_JOBS = "longtake:jobs:all"
DELETED_JOBS = "longtake:jobs:deleted"
EXPIRY = "longtake:jobs:expiry"
UPLOADS = "longtake:uploads"
READY_QUEUES = "longtake:ready"
"""Names of all queues of `ready_index` that have ever had a job."""
READY_JOBS = "longtake:jobs:ready"
"""Jobs that are in one of these queues. Every job not yet ended is, but those that are being cancelled."""
COMMITS = "longtake:commits"
STALE_MANIFESTS = "longtake:manifests:stale"
"""Jobs whose manifest is behind their record, scored by the revision that it must have."""
TOMBSTONES = "longtake:tombstones"
"""Deleted jobs, scored by the time at which their tombstone may go."""
MANIFESTS_READ = "longtake:janitor:manifests_read"
"""Gone where Redis has lost everything: then records are rebuilt from the manifests."""

P = ParamSpec("P")
T = TypeVar("T")


def connect(redis_url: str) -> redis.Redis:
    """A client (a pool of connections, safe to share between threads). Does not connect yet."""
    return redis.Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_keepalive=True,
        health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=1.0), RETRIES),
    )


def names_errors(method: Callable[P, T]) -> Callable[P, T]:
    """Let a lost connection or a full Redis leave `method` as StoreError, so that callers need not know Redis."""

    @wraps(method)
    def named(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise StoreError(f"Redis does not answer: {error}", fix="check that Redis runs and its URL") from error
        except OutOfMemoryError as error:  # with `noeviction` a full Redis refuses writes and loses nothing
            raise StoreError(f"Redis is full: {error}", fix="delete jobs or give Redis more memory") from error

    return named


def job_key(job_id: str) -> str:
    """Hash of a job: `record` (JSON), `stop` ("1": whoever works on it shall stop) and the record's `revision`.

    Ends in a word of its own, so that no id that a client makes up can name another key.
    """
    return f"longtake:job:{job_id}:record"


def events_key(job_id: str) -> str:
    return f"longtake:job:{job_id}:events"


def progress_key(job_id: str, lane: Lane) -> str:
    return f"longtake:job:{job_id}:progress:{lane}"


def deliveries_key(job_id: str) -> str:
    """Hash: delivery id -> JSON."""
    return f"longtake:job:{job_id}:deliveries"


def lease_key(job_id: str, lane: Lane) -> str:
    """The fencing token of the live lease; expires with it."""
    return f"longtake:job:{job_id}:lease:{lane}"


def ready_queue(lane: Lane, model: str) -> str:
    """Where jobs wait that want this lane. Videos are joined by any CPU worker, whatever made them."""
    return lane.value if lane is Lane.FINALIZE else f"{lane.value}:{model}"


def ready_index(queue: str) -> str:
    """Of one `ready_queue`: jobs by rank, then age. They stay there while a worker has the lane."""
    return f"{READY_QUEUES}:{queue}"


def worker_lease_key(name: str) -> str:
    """What a worker claimed last: job, lane and token."""
    return f"{worker_key(name)}:lease"


def status_index(status: str) -> str:
    return f"longtake:jobs:status:{status}"


def queue_index(model: str) -> str:
    return f"longtake:jobs:queued:{model}"


def outbox_member(job_id: str, delivery_id: str) -> str:
    """How a delivery is named in OUTBOX_DUE. Neither id contains a space."""
    return f"{job_id} {delivery_id}"


def upload_key(upload_id: str) -> str:
    return f"longtake:upload:{upload_id}"


def worker_key(name: str) -> str:
    return f"longtake:worker:{name}"
