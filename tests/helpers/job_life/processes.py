"""Processes that run one at a time, and stop at a call, continue, or die there.

Every process (a worker, the API, a janitor, the webhook sender) runs in a thread of its own and only while the test
waits for it; so a run is the same each time it is repeated.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.service.domain.errors import StorageError, StoreError

HANG_SECONDS = 120.0


class Killed(BaseException):
    """What kill -9 is here: no handler of errors may catch it."""


class EngineFault(Exception):
    """What a broken engine raises."""


@dataclass(frozen=True)
class Stop:
    """At its `at`-th call of a port from now on a process stands still, before the call or after it."""

    at: int
    before: bool


class Process:
    """A process that runs while the test waits in `run` or `go_on`, and stops where it is told to or where it waits for
    a server. All it reaches goes through `port`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parked = False
        self.drain = _Drain(self)
        self.calls_left: int | None = None
        self._before = False
        self._dead = False
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._error: BaseException | None = None
        self._result: object = None

    def port(self, port: object) -> Any:
        return _Port(port, self)

    def run(self, work: Callable[[], object], stop: Stop | None = None) -> object:
        """What `work` returned, or None where it stands still or has failed as a server or an engine does."""
        assert not self.parked, self.name
        assert not self._dead, self.name
        self._stop_at(stop)
        self._result, self._error = None, None
        threading.Thread(target=self._thread, args=(work,), name=self.name, daemon=True).start()
        return self._await()

    def go_on(self, stop: Stop | None = None) -> object:
        assert self.parked, self.name
        self._stop_at(stop)
        self._turn.release()
        return self._await()

    def die(self) -> None:
        """Where it stands, or between two pieces of work."""
        self._dead = True
        if self.parked:
            self._turn.release()
            self._await()

    def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._dead:
            raise Killed
        if self.calls_left is not None:
            self.calls_left -= 1
        stops = self.calls_left == 0
        if stops and self._before:
            self.park()
        result = method(*args, **kwargs)
        if stops and not self._before:
            self.park()
        return result

    def park(self) -> None:
        self.parked, self.calls_left = True, None
        self._back.release()
        self._turn.acquire()
        self.parked = False
        if self._dead:
            raise Killed

    def _stop_at(self, stop: Stop | None) -> None:
        self.calls_left, self._before = (stop.at, stop.before) if stop else (None, False)

    def _await(self) -> object:
        assert self._back.acquire(timeout=HANG_SECONDS), f"{self.name} hangs"
        if self._error is not None and not self.parked:
            raise self._error
        return None if self.parked else self._result

    def _thread(self, work: Callable[[], object]) -> None:
        try:
            self._result = work()
        except (Killed, EngineFault, StoreError, StorageError) as error:
            logging.getLogger(__name__).info("%s ends its work: %r", self.name, error)
        except BaseException as error:  # handed to the test
            self._error = error
        finally:
            self._back.release()


class _Port:
    def __init__(self, port: object, process: Process) -> None:
        self._port = port
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return partial(self._process.call, getattr(self._port, name))


class _Drain(threading.Event):
    """The wish that a process stops. Whoever waits with it waits for a server: the process stands still."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        if not self.is_set():
            self._process.park()
        return self.is_set()
