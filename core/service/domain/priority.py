"""Priority classes of jobs. What they do is in scheduling.py; pure."""

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
        return _CLASSES.index(self)


_CLASSES = tuple(Priority)
