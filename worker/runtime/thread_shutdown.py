"""Stopping several threads of a process within the time of one: all are told first, and then waited for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol


class Stoppable(Protocol):
    def tell_to_stop(self) -> None:
        """Take nothing new, and end. Returns at once."""
        ...

    def join(self, timeout_seconds: float) -> None:
        """Wait until it has ended, for so long at most."""
        ...


class Deadline:
    """So many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left_seconds(self) -> float:
        return max(0.0, self._at - time.monotonic())


def stop_together(seconds: Mapping[Stoppable, float]) -> None:
    """Stop all of these; each may take so long, counted from now."""
    deadlines = {one: Deadline(most) for one, most in seconds.items()}
    for one in deadlines:
        one.tell_to_stop()
    for one, deadline in deadlines.items():
        one.join(deadline.left_seconds)
