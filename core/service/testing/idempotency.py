"""ports.IdempotencyKeys in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.service.domain.ports import Clock, Reservation
from core.service.domain.ports.idempotency import IN_FLIGHT_SECONDS, KEPT_SECONDS
from core.service.testing.clock import FakeClock


@dataclass
class _Entry:
    job_id: str
    fingerprint: str
    until: datetime
    token: str | None = None
    """Of the request in flight."""
    locked_until: datetime = datetime.min


class FakeIdempotencyKeys:
    """ports.IdempotencyKeys in memory."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or FakeClock()
        self._entries: dict[tuple[str, str], _Entry] = {}

    def reserve(self, scope: str, key: str, fingerprint: str, token: str, job_id: str) -> Reservation:
        now = self._clock.now()
        entry = self._entries.get((scope, key))
        is_new = entry is None or entry.until <= now
        if entry is None or is_new:
            entry = self._entries[scope, key] = _Entry(job_id, fingerprint, now + timedelta(seconds=KEPT_SECONDS))
        if entry.fingerprint == fingerprint and (entry.token is None or entry.locked_until <= now):
            entry.token, entry.locked_until = token, now + timedelta(seconds=IN_FLIGHT_SECONDS)
        return Reservation(entry.job_id, entry.fingerprint, entry.token == token, is_new)

    def release(self, scope: str, key: str, token: str) -> None:
        entry = self._entries.get((scope, key))
        if entry is not None and entry.token == token:
            entry.token = None

    def forget(self, scope: str, key: str, token: str) -> None:
        entry = self._entries.get((scope, key))
        if entry is not None and entry.token == token:
            del self._entries[scope, key]
