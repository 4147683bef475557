"""The system clock and the fake clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.service.clock import SystemClock
from core.service.domain.ports import Clock
from core.service.testing.clock import FakeClock


def test_the_system_clock_is_in_utc() -> None:
    clock: Clock = SystemClock()
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.now().utcoffset() == timedelta(0)


def test_the_fake_clock_moves_only_when_advanced() -> None:
    clock = FakeClock()
    start = clock.now()
    assert clock.now() == start
    clock.advance(1.5)
    assert clock.now() - start == timedelta(seconds=1.5)
