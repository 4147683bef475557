"""Threads of a process that stops end within the time of one."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from worker.runtime.thread_shutdown import stop_together


class Worker:
    """A thread that ends some time after request_stop, or never."""

    def __init__(self, ends_with: threading.Event | None = None) -> None:
        self.told = threading.Event()
        self._ends_with = ends_with or threading.Event()
        self._thread = threading.Thread(target=self._ends_with.wait, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def request_stop(self) -> None:
        self.told.set()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)


def test_all_are_signalled_before_any_is_waited_for() -> None:
    last = Worker()
    first = Worker(ends_with=last.told)
    stop_together({first: 60.0, last: 0.0})
    assert first.ended


class Hanging:
    """Takes all the time that `join` gives it."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self._clock = clock

    def request_stop(self) -> None: ...

    def join(self, timeout_seconds: float) -> None:
        self._clock.now += timeout_seconds


def test_many_that_hang_cost_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("worker.runtime.thread_shutdown.time", SimpleNamespace(monotonic=lambda: clock.now))
    stop_together({Hanging(clock): 5.0 for _ in range(32)})
    assert clock.now == 1005.0
