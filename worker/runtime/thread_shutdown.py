"""Stops several threads in parallel: all are asked to stop first, then joined."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol


class Stoppable(Protocol):
    def request_stop(self) -> None:
        """Take no new work and end. Returns at once."""
        ...

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end, at most so long."""
        ...


class Deadline:
    """A point in time, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left_seconds(self) -> float:
        return max(0.0, self._at - time.monotonic())


def stop_together(seconds: Mapping[Stoppable, float]) -> None:
    """Stop all of these; each may take its seconds, counted from now."""
    deadlines = {one: Deadline(most) for one, most in seconds.items()}
    for one in deadlines:
        one.request_stop()
    for one, deadline in deadlines.items():
        one.join(deadline.left_seconds)
