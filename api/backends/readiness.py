"""Asks the servers behind the API whether jobs can be taken in, without ever waiting for them for long.

Each question has a thread of its own and is asked once at a time: whoever comes while it is asked waits for the same
answer, and for no more than WAIT_SECONDS. So a server that hangs holds one thread, however often somebody looks, and
none of those that other requests need. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.service.domain.errors import LongtakeError
from core.service.domain.ports import JobStore, Storage, WorkerRegistry, WorkerStatus

WAIT_SECONDS = 1.5
KEPT_SECONDS = 1.0
"""An answer this young is given again: looking more often costs the servers nothing."""


T = TypeVar("T")


@dataclass(frozen=True)
class Health:
    """What is asked; raises a LongtakeError where the server cannot be used. The store answers with the workers."""

    store: Callable[[], Sequence[WorkerStatus]]
    storage: Callable[[], None]


def health_of(store: JobStore, workers: WorkerRegistry, storage: Storage) -> Health:
    """As far as the ports themselves can say."""

    def ask_store() -> Sequence[WorkerStatus]:
        store.ping()
        return workers.all()

    return Health(ask_store, storage.check)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a server said, or the reason why it cannot be used."""

    said: T | None
    reason: str | None


class Probe(Generic[T]):
    """One question to one server."""

    def __init__(
        self,
        ask: Callable[[], T],
        wait_seconds: float = WAIT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._wait_seconds = wait_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._asked: Future[Answer[T]] | None = None
        self._answered_at = 0.0

    async def answer(self) -> Answer[T]:
        asked = asyncio.wrap_future(self._shared())
        await asyncio.wait({asked}, timeout=self._wait_seconds)
        if not asked.done():
            return Answer(None, f"does not answer within {self._wait_seconds:g} s")
        return asked.result()

    def _shared(self) -> Future[Answer[T]]:
        """The question that is being asked, or was a moment ago; else a new one."""
        with self._lock:
            asked = self._asked
            if asked is None or (asked.done() and self._monotonic() - self._answered_at > KEPT_SECONDS):
                asked = self._asked = Future()
                asked.set_running_or_notify_cancel()  # a client that leaves must not cancel it for the others
                threading.Thread(target=self._run, args=(asked,), name="readiness", daemon=True).start()
            return asked

    def _run(self, asked: Future[Answer[T]]) -> None:
        try:
            answer = Answer(self._ask(), None)
        except LongtakeError as error:
            answer = Answer[T](None, error.with_fix)
        except Exception as error:  # the thread's outermost frame: whoever waits must hear of it
            answer = Answer[T](None, f"{type(error).__name__}: {error}")
        self._answered_at = self._monotonic()
        asked.set_result(answer)


class Probes:
    """The questions of one API process."""

    def __init__(self, health: Health) -> None:
        self.store = Probe(health.store)
        self.storage = Probe(health.storage)
