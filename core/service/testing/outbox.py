"""ports.Outbox in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from core.service.domain.ports import Clock, Delivery
from core.service.domain.ports.outbox import place_of
from core.service.domain.webhooks import KEPT_DELIVERIES
from core.service.testing.job_store import FakeJobStore


class FakeOutbox:
    """ports.Outbox over a FakeJobStore."""

    def __init__(self, store: FakeJobStore, clock: Clock) -> None:
        self._memory = store.memory
        self._clock = clock

    def take_due(self, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        with self._memory.changed:
            now = self._clock.now()
            by_time = sorted((at, key) for key, at in self._memory.due.items() if at <= now)
            heads = [key for _, key in by_time if key == self._head(key[0])]
            taken = [key for key in heads if not self._disable(key)][:limit]
            self._push(taken, hold_seconds)
            return [self._memory.deliveries[key] for key in taken]

    def hold(self, deliveries: Sequence[Delivery], seconds: float) -> Sequence[Delivery]:
        with self._memory.changed:
            due = self._memory.due
            held = [
                row for row in deliveries if due.get((row.job_id, row.id), "") == self._memory.held_until.get(row.id)
            ]
            self._push([(row.job_id, row.id) for row in held], seconds)
            return held

    def give_back(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        for delivery in self.hold(deliveries, delay_seconds):
            self._memory.held_until.pop(delivery.id)

    def record(self, delivery: Delivery, delay_seconds: float = 0.0) -> int:
        key = (delivery.job_id, delivery.id)
        with self._memory.changed:
            due = self._memory.due.get(key)
            is_mine = self._memory.held_until.pop(delivery.id, due) == due
            if key in self._memory.deliveries and due is not None and (is_mine or delivery.state != "pending"):
                self._memory.deliveries[key] = delivery
                if delivery.state == "pending":
                    self._memory.due[key] = self._clock.now() + timedelta(seconds=delay_seconds)
                else:
                    del self._memory.due[key]
                if delivery.turns_off:
                    self._memory.disabled_webhooks.add(delivery.job_id)
            self._drop_old(delivery.job_id)
            head = self._head(delivery.job_id)
            if delivery.state != "pending" and head is not None:
                self._memory.due[head] = min(self._memory.due[head], self._clock.now())
            rows = [row.id for row in self.of_job(delivery.job_id)] + self._memory.given_up.get(delivery.job_id, [])
            before = [row for row in rows if head is None or place_of(row) < place_of(head[1])]
            return self._memory.dropped[delivery.job_id] + len(before)

    def _drop_old(self, job_id: str) -> None:
        ended = [row.id for row in self.of_job(job_id) if row.state != "pending"]
        for delivery_id in ended[:-KEPT_DELIVERIES]:
            del self._memory.deliveries[job_id, delivery_id]
            self._memory.dropped[job_id] += 1

    def _head(self, job_id: str) -> tuple[str, str] | None:
        """The job's first pending delivery."""
        keys = ((job_id, row.id) for row in self.of_job(job_id))
        return next((key for key in keys if key in self._memory.due), None)

    def _disable(self, key: tuple[str, str]) -> bool:
        """Disable the delivery if the receiver has disabled this job's webhooks; returns whether it has."""
        disabled = key[0] in self._memory.disabled_webhooks
        if disabled:
            self.record(self._memory.deliveries[key].turned_off)
        return disabled

    def _push(self, keys: Sequence[tuple[str, str]], seconds: float) -> None:
        until = self._clock.now() + timedelta(seconds=seconds)
        self._memory.due.update(dict.fromkeys(keys, until))
        self._memory.held_until.update({key[1]: until for key in keys})

    def of_job(self, job_id: str) -> Sequence[Delivery]:
        with self._memory.changed:
            own = [delivery for key, delivery in self._memory.deliveries.items() if key[0] == job_id]
        return sorted(own, key=lambda delivery: delivery.order)
