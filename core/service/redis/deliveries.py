"""What clients see of their webhooks and do with them, in Redis. The rows are those of outbox.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import cast

import redis

from core.service.domain.ports import Delivery, DeliveryPage
from core.service.domain.ports.deliveries import MAX_PINGS, PING_KEPT_SECONDS
from core.service.domain.ports.outbox import place_of
from core.service.domain.webhook_deliveries import (
    being_sent,
    delivery_not_found,
    due_again,
    ping_not_found,
    place_in,
    too_many_pings,
    waits_behind,
)
from core.service.redis import keys
from core.service.redis import outbox_scripts as scripts
from core.service.redis.errors import raises_store_errors
from core.service.redis.outbox import read_delivery


class RedisDeliveries:
    """ports.Deliveries."""

    def __init__(self, redis: redis.Redis, now: Callable[[], datetime] | None = None) -> None:
        """`now` replaces the clock of Redis, for tests."""
        self._redis = redis
        self._now = now
        self._send_again = redis.register_script(scripts.SEND_AGAIN)
        self._add_ping = redis.register_script(scripts.ADD_PING)

    @raises_store_errors
    def page(self, job_id: str, limit: int, cursor: str | None = None) -> DeliveryPage:
        end = None if cursor is None else place_in(cursor)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hkeys(keys.deliveries_key(job_id))
            pipe.hget(keys.job_key(job_id), "webhooks_skipped")
            ids, dropped = cast("tuple[list[str], str | None]", pipe.execute())
        newest = sorted((row for row in ids if end is None or place_of(row) < end), key=place_of, reverse=True)
        shown = newest[:limit]
        following = shown[-1] if len(newest) > limit else None
        return DeliveryPage(self._rows(job_id, shown), following, int(dropped or 0))

    def _rows(self, job_id: str, ids: Sequence[str]) -> list[Delivery]:
        rows = self._redis.hmget(keys.deliveries_key(job_id), list(ids)) if ids else []
        found = (read_delivery(row) for row in cast("list[str | None]", rows))
        return [delivery for delivery in found if delivery is not None]

    @raises_store_errors
    def send_again(self, job_id: str, delivery_id: str, at: datetime) -> Delivery:
        while True:
            row = cast("str | None", self._redis.hget(keys.deliveries_key(job_id), delivery_id))
            delivery = read_delivery(row)
            if row is None or delivery is None:
                raise delivery_not_found(delivery_id)
            again = due_again(delivery, at)
            arguments = [self._time(), keys.JOB_KEYS, job_id, delivery_id, row, again.model_dump_json()]
            answer = cast("str", self._send_again(keys=[keys.OUTBOX_DUE], args=arguments))
            if answer == "":
                return again
            if answer == "sending":
                raise being_sent()
            if answer != "changed":
                raise waits_behind(answer)

    @raises_store_errors
    def add_ping(self, ping: Delivery) -> None:
        arguments = [self._time(), keys.JOB_KEYS, ping.job_id, ping.id, ping.model_dump_json()]
        pings = keys.pings_of(ping.owner or "")
        arguments += [PING_KEPT_SECONDS, MAX_PINGS]
        full = cast("str", self._add_ping(keys=[keys.OUTBOX_DUE, pings], args=arguments))
        if full:
            raise too_many_pings(float(full))

    @raises_store_errors
    def ping(self, job_id: str) -> Delivery:
        rows = cast("list[str]", self._redis.hvals(keys.deliveries_key(job_id)))
        found = read_delivery(rows[0]) if rows else None
        if found is None or not found.is_ping:
            raise ping_not_found()
        return found

    def _time(self) -> str | float:
        return "" if self._now is None else self._now().timestamp()
