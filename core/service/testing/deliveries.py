"""ports.Deliveries in memory."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.service.domain.ports import Clock, Delivery, DeliveryPage
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
from core.service.testing.job_store import FakeJobStore


class FakeDeliveries:
    """ports.Deliveries over a FakeJobStore; a FakeOutbox over the same store sends."""

    def __init__(self, store: FakeJobStore, clock: Clock) -> None:
        self._memory = store.memory
        self._clock = clock

    def page(self, job_id: str, limit: int, cursor: str | None = None) -> DeliveryPage:
        end = None if cursor is None else place_in(cursor)
        with self._memory.changed:
            own = [delivery for key, delivery in self._memory.deliveries.items() if key[0] == job_id]
            dropped = len(self._memory.given_up.get(job_id, []))
        newest = sorted(own, key=lambda row: place_of(row.id), reverse=True)
        later = [row for row in newest if end is None or place_of(row.id) < end]
        following = later[limit - 1].id if len(later) > limit else None
        return DeliveryPage(later[:limit], following, dropped)

    def send_again(self, job_id: str, delivery_id: str, at: datetime) -> Delivery:
        memory, key = self._memory, (job_id, delivery_id)
        with memory.changed:
            if key not in memory.deliveries:
                raise delivery_not_found(delivery_id)
            waiting = sorted((other[1] for other in memory.due if other[0] == job_id), key=place_of)
            now = self._clock.now()
            if waiting and now < memory.due[job_id, waiting[0]] == memory.held_until.get(waiting[0]):
                raise being_sent()
            if delivery_id in waiting[1:]:
                raise waits_behind(waiting[0])
            memory.deliveries[key] = due_again(memory.deliveries[key], at)
            memory.due[key] = now
            memory.disabled_webhooks.discard(job_id)
            return memory.deliveries[key]

    def add_ping(self, ping: Delivery) -> None:
        memory, now = self._memory, self._clock.now()
        with memory.changed:
            kept_from = now - timedelta(seconds=PING_KEPT_SECONDS)
            pings = [row for row in memory.deliveries.values() if row.is_ping and row.owner == ping.owner]
            kept = sorted(row.created_at for row in pings if row.created_at > kept_from)
            if len(kept) >= MAX_PINGS:
                raise too_many_pings((kept[0] - kept_from).total_seconds())
            memory.deliveries[ping.job_id, ping.id] = ping
            memory.due[ping.job_id, ping.id] = now

    def ping(self, job_id: str) -> Delivery:
        with self._memory.changed:
            found = [row for key, row in self._memory.deliveries.items() if key[0] == job_id and row.is_ping]
        if not found or (self._clock.now() - found[0].created_at).total_seconds() >= PING_KEPT_SECONDS:
            raise ping_not_found()
        return found[0]
