"""The webhook outbox in Redis: deliveries per job, and one sorted set of what is due when.

Rows are added by job_store.py inside the transaction that changes the job. Sends nothing and signs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import cast

import redis
from pydantic import ValidationError

from core.service import redis_client as keys
from core.service.ports import Delivery

log = logging.getLogger(__name__)

# Taking is one step, so that two senders never take the same row: each taken one is pushed `hold` into the future.
_TAKE_DUE = """
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, member in ipairs(members) do redis.call('ZADD', KEYS[1], 'XX', ARGV[3], member) end
return members
"""

# A row of a job that was purged meanwhile must not come back.
_RECORD = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return redis.call('ZREM', KEYS[2], ARGV[3]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] == '' then return redis.call('ZREM', KEYS[2], ARGV[3]) end
return redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
"""


class RedisOutbox:
    """ports.Outbox."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis
        self._take_due = redis.register_script(_TAKE_DUE)
        self._record = redis.register_script(_RECORD)

    @keys.names_errors
    def take_due(self, now: datetime, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        held_until = now + timedelta(seconds=hold_seconds)
        arguments = [now.timestamp(), limit, held_until.timestamp()]
        members = cast(list[str], self._take_due(keys=[keys.OUTBOX_DUE], args=arguments))
        with self._redis.pipeline(transaction=False) as pipe:
            for member in members:
                job_id, delivery_id = member.split(" ")
                pipe.hget(keys.deliveries_key(job_id), delivery_id)
            rows = cast(list[str | None], pipe.execute())
        return _readable(rows)

    @keys.names_errors
    def record(self, delivery: Delivery) -> None:
        due = delivery.next_attempt_at if delivery.state == "pending" else None
        self._record(
            keys=[keys.deliveries_key(delivery.job_id), keys.OUTBOX_DUE],
            args=[
                delivery.id,
                delivery.model_dump_json(),
                keys.outbox_member(delivery.job_id, delivery.id),
                "" if due is None else due.timestamp(),
            ],
        )

    @keys.names_errors
    def of_job(self, job_id: str) -> Sequence[Delivery]:
        rows = cast(list[str], self._redis.hvals(keys.deliveries_key(job_id)))
        return sorted(_readable(rows), key=lambda delivery: delivery.order)


def _readable(rows: Iterable[str | None]) -> list[Delivery]:
    """A delivery that this version cannot read is left to one that can."""
    found = list[Delivery]()
    for row in rows:
        try:
            found += [] if row is None else [Delivery.model_validate_json(row)]
        except ValidationError as error:
            log.error("a delivery cannot be read and is left out: %d errors in it", error.error_count())
    return found
