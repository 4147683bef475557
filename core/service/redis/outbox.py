"""The webhook outbox in Redis: a hash of deliveries per job, and one sorted set of due times.

The job store adds deliveries, inside its transactions. A delivery is in the sorted set while it is pending; older
versions do the same, so they can run beside this one. Times are of Redis' clock, so the senders' clocks do not matter.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import redis
from pydantic import ValidationError

from core.service.domain.ports import Delivery
from core.service.domain.webhooks import KEPT_DELIVERIES
from core.service.redis import keys
from core.service.redis import outbox_scripts as scripts
from core.service.redis.errors import raises_store_errors

log = logging.getLogger(__name__)

BEHIND_SECONDS = 30.0
"""A delivery behind a pending one is checked again this much later, or as soon as that one ends."""
MAX_UNREADABLE = 1000
"""Limit of remembered unreadable deliveries, which are arguments of every script call. A forgotten one blocks the
rest of its job until a version that can read it has sent it."""


@dataclass(frozen=True)
class _Taken:
    """A delivery taken by the script. `proof` identifies the hold; `disabled` is "" unless the receiver refused."""

    job_id: str
    delivery_id: str
    proof: str
    disabled: str

    @property
    def member(self) -> str:
        return keys.outbox_member(self.job_id, self.delivery_id)


class RedisOutbox:
    """ports.Outbox."""

    def __init__(self, redis: redis.Redis, now: Callable[[], datetime] | None = None) -> None:
        """`now` replaces the clock of Redis, for tests."""
        self._redis = redis
        self._now = now
        self._take_due = redis.register_script(scripts.TAKE_DUE)
        self._hold = redis.register_script(scripts.HOLD)
        self._record = redis.register_script(scripts.RECORD)
        self._wake = redis.register_script(scripts.WAKE)
        self._lock = threading.Lock()
        self._proofs: dict[str, str] = {}
        self._unreadable: OrderedDict[str, str] = OrderedDict()
        """Deliveries that only another version can read, and their jobs; later ones of the job do not wait for them."""

    @raises_store_errors
    def take_due(self, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        while True:
            looked_at, taken = self._take(limit, hold_seconds)
            found = self._readable_of(taken)
            if found or looked_at == 0 or (looked_at < limit and not taken):
                return found

    def _take(self, limit: int, hold_seconds: float) -> tuple[int, list[_Taken]]:
        skipped = self._skipped()
        arguments = [self._time(), keys.JOB_KEYS, limit, hold_seconds, BEHIND_SECONDS, *skipped]
        looked_at, rows = cast("tuple[int, list[list[str]]]", self._take_due(keys=[keys.OUTBOX_DUE], args=arguments))
        return looked_at, [_Taken(*row) for row in rows]

    def _readable_of(self, taken: Sequence[_Taken]) -> list[Delivery]:
        """The deliveries taken, without unreadable ones and those disabled by an earlier refusal."""
        with self._redis.pipeline(transaction=False) as pipe:
            for row in taken:
                pipe.hget(keys.deliveries_key(row.job_id), row.delivery_id)
            texts = cast("list[str | None]", pipe.execute())
        found = list[Delivery]()
        for row, text in zip(taken, texts, strict=True):
            delivery = read_delivery(text)
            if delivery is None:
                self._skip_unreadable(row)
                continue
            with self._lock:
                self._proofs[row.member] = row.proof
            if row.disabled:
                self.record(delivery.turned_off)
            else:
                found.append(delivery)
        return found

    def _skip_unreadable(self, row: _Taken) -> None:
        with self._lock:
            self._unreadable[row.member] = row.job_id
            while len(self._unreadable) > MAX_UNREADABLE:
                self._unreadable.popitem(last=False)
        arguments = [self._time(), keys.JOB_KEYS, row.job_id, *self._skipped(row.job_id)]
        self._wake(keys=[keys.OUTBOX_DUE], args=arguments)

    def _skipped(self, job_id: str | None = None) -> list[str]:
        """Unreadable deliveries, of one job or of all."""
        with self._lock:
            return [member for member, job in self._unreadable.items() if job_id in (None, job)]

    @raises_store_errors
    def hold(self, deliveries: Sequence[Delivery], seconds: float) -> Sequence[Delivery]:
        kept = self._push(deliveries, seconds, renews=True)
        with self._lock:
            for delivery, proof in kept:
                if proof:
                    self._proofs[_member(delivery)] = proof
        return [delivery for delivery, proof in kept if proof]

    @raises_store_errors
    def give_back(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        self._push(deliveries, delay_seconds, renews=False)
        self._forget(deliveries)  # including those whose hold was lost

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        with self._lock:
            for delivery in deliveries:
                self._proofs.pop(_member(delivery), None)

    def _push(self, deliveries: Sequence[Delivery], seconds: float, *, renews: bool) -> list[tuple[Delivery, str]]:
        """Make these due in `seconds`. Returns each with its new proof, "" if its hold was lost."""
        if not deliveries:
            return []
        with self._lock:
            pairs = [word for row in deliveries for word in (_member(row), self._proofs.get(_member(row), ""))]
        arguments = [self._time(), keys.JOB_KEYS, seconds, "1" if renews else "", *pairs]
        proofs = cast("list[str]", self._hold(keys=[keys.OUTBOX_DUE], args=arguments))
        return list(zip(deliveries, proofs, strict=True))

    @raises_store_errors
    def record(self, delivery: Delivery, delay_seconds: float = 0.0) -> int:
        with self._lock:
            proof = self._proofs.get(_member(delivery), "")
        arguments = [
            self._time(),
            keys.JOB_KEYS,
            delivery.job_id,
            delivery.id,
            delivery.model_dump_json(),
            delay_seconds if delivery.state == "pending" else "",
            proof,
            "1" if delivery.turns_off else "",
            KEPT_DELIVERIES,
            *self._skipped(delivery.job_id),
        ]
        ended = self._record(keys=[keys.OUTBOX_DUE], args=arguments)
        self._forget([delivery])
        return int(cast("int", ended))

    @raises_store_errors
    def of_job(self, job_id: str) -> Sequence[Delivery]:
        rows = cast("list[str]", self._redis.hvals(keys.deliveries_key(job_id)))
        found = [delivery for row in rows if (delivery := read_delivery(row)) is not None]
        return sorted(found, key=lambda delivery: delivery.order)

    def _time(self) -> str | float:
        return "" if self._now is None else self._now().timestamp()


def _member(delivery: Delivery) -> str:
    return keys.outbox_member(delivery.job_id, delivery.id)


def read_delivery(row: str | None) -> Delivery | None:
    """The delivery; None for no row, and for an unreadable one, which is logged and left to another version."""
    try:
        return None if row is None else Delivery.model_validate_json(row)
    except ValidationError as error:
        log.error("a delivery cannot be read and is skipped: %d errors in it", error.error_count())
        return None
