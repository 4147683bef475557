"""The clock port, for wall time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time, timezone-aware UTC."""

    def now(self) -> datetime: ...
