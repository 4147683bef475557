"""A stopwatch that adds up seconds by phase, for the timings of a chunk, and keeps the intervals for its trace."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from core.service.tracing import Interval


class Stopwatch:
    """Adds up seconds by phase name; `seconds` may be read at any time."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(seconds or {})
        self.intervals: list[Interval] = []
        if queue := self.seconds.get("queue"):
            now = time.time_ns()
            self.intervals.append(Interval("queue", now - round(queue * 1e9), now))

    @contextmanager
    def phase(self, name: str, interval: str | None = None) -> Generator[None]:
        """`interval`: its name in the trace if that is another."""
        started = time.perf_counter()
        try:
            with self.interval(interval or name):
                yield
        finally:
            self.add({name: time.perf_counter() - started})

    @contextmanager
    def interval(self, name: str) -> Generator[None]:
        """As `phase`, for the trace alone: its seconds are measured elsewhere."""
        started = time.time_ns()
        try:
            yield
        finally:
            self.intervals.append(Interval(name, started, time.time_ns()))

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds that were measured elsewhere."""
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value
