"""Priority classes of jobs: who is served first. domain.scheduling says how a free worker chooses among them. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError


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


def _read(value: object) -> Priority:
    """The priority, also by its name: JSON has no enums, and in strict mode pydantic takes nothing else for one."""
    if not isinstance(value, str) or value not in _CLASSES:
        *others, last = (repr(each.value) for each in _CLASSES)
        raise PydanticKnownError("enum", {"expected": f"{', '.join(others)} or {last}"})
    return Priority(value)


AskedPriority = Annotated[Priority, BeforeValidator(_read)]
"""A priority in the body of a request."""
