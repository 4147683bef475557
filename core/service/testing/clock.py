"""A clock under the control of a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

FAKE_START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Stands still between calls of `advance`."""

    def __init__(self, now: datetime = FAKE_START) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
