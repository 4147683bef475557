"""The system clock: the real implementation of the clock port."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Wall time, timezone-aware UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)
