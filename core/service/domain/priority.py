"""Priority classes of jobs."""

from __future__ import annotations

from enum import StrEnum


class Priority(StrEnum):
    """Priority classes, the first served first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def number(self) -> int:
        """0 for the class that is served first."""
        return tuple(Priority).index(self)
