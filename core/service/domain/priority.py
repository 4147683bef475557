"""Priority classes of jobs: who is served first. domain.scheduling says how a free worker chooses among them. Pure."""

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

    def is_above(self, other: Priority) -> bool:
        """Whether it is served before `other`."""
        return self.number < other.number


_CLASSES = tuple(Priority)
