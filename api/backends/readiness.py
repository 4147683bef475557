"""Checks whether the servers behind the API can be used, within a short time.

Each check runs in a thread of its own, once at a time: concurrent callers share its result and wait at most
WAIT_SECONDS. A hanging server thus blocks one thread however often it is checked, and none of the request threads.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from core.service.domain.errors import LongtakeError
from core.service.domain.ports import JobStore, Pauses, PauseTarget, Storage, WorkerRegistry, WorkerStatus, widest

WAIT_SECONDS = 1.5
KEPT_SECONDS = 1.0
"""How long a result is reused."""


T = TypeVar("T")


@dataclass(frozen=True)
class WorkersSeen:
    """The running workers, and what is paused since when."""

    workers: Sequence[WorkerStatus]
    paused: Mapping[PauseTarget, datetime]

    def is_paused(self, worker: WorkerStatus) -> bool:
        """Whether a pause holds the worker: it finishes what it is making, and begins nothing more."""
        return widest(self.paused, worker.model or "", worker.name) is not None


@dataclass(frozen=True)
class Health:
    """The checks. They raise a LongtakeError if the server cannot be used; `store` returns what workers report, and
    what is paused."""

    store: Callable[[], WorkersSeen]
    storage: Callable[[], None]


def health_of(store: JobStore, workers: WorkerRegistry, pauses: Pauses, storage: Storage) -> Health:
    """The checks that the ports offer."""

    def check_records() -> WorkersSeen:
        store.ping()
        return WorkersSeen(workers.all(), pauses.all())

    return Health(check_records, storage.check)


@dataclass(frozen=True)
class ProbeResult(Generic[T]):
    """What the check returned, or the reason why the server cannot be used."""

    value: T | None
    reason: str | None


class Probe(Generic[T]):
    """One check of one server."""

    def __init__(
        self,
        check: Callable[[], T],
        wait_seconds: float = WAIT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check = check
        self._wait_seconds = wait_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._running: Future[ProbeResult[T]] | None = None
        self._done_at = 0.0

    async def result(self) -> ProbeResult[T]:
        running = asyncio.wrap_future(self._shared())
        await asyncio.wait({running}, timeout=self._wait_seconds)
        if not running.done():
            return ProbeResult(None, f"does not answer within {self._wait_seconds:g} s")
        return running.result()

    def _shared(self) -> Future[ProbeResult[T]]:
        """The check that is running or has just ended; else a new one."""
        with self._lock:
            running = self._running
            if running is None or (running.done() and self._monotonic() - self._done_at > KEPT_SECONDS):
                running = self._running = Future()
                running.set_running_or_notify_cancel()  # a client that disconnects must not cancel it for others
                threading.Thread(target=self._run, args=(running,), name="readiness", daemon=True).start()
            return running

    def _run(self, running: Future[ProbeResult[T]]) -> None:
        try:
            result = ProbeResult(self._check(), None)
        except LongtakeError as error:
            result = ProbeResult[T](None, error.with_fix)
        except Exception as error:  # the thread's outermost frame: the callers must get a result
            result = ProbeResult[T](None, f"{type(error).__name__}: {error}")
        self._done_at = self._monotonic()
        running.set_result(result)


class Probes:
    """The checks of one API process."""

    def __init__(self, health: Health) -> None:
        self.store = Probe(health.store)
        self.storage = Probe(health.storage)
