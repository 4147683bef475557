"""Notices that this process is alive and does not consume: while idle it sends itself a message through the broker.

A heartbeat proves that a thread runs; only a message that comes back proves the way that tasks take. Knows no job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import redis
from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from core.service.domain.errors import StoreError
from core.service.redis.errors import store_errors

TASK_PROBE = "longtake.probe"
EVERY_SECONDS = 5.0
LIMIT_SECONDS = 20.0
KEPT_SECONDS = 60
"""What is left of a process that was killed is gone after this."""


class SelfProbe:
    """`look` every second or two; `heard` is called by each probe that arrives."""

    def __init__(
        self,
        send: Callable[[], None],
        idle: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        every_seconds: float = EVERY_SECONDS,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """`send` raises StoreError or OperationalError where the broker did not take the message."""
        self._send = send
        self._idle = idle
        self._monotonic = monotonic
        self._every = every_seconds
        self._limit = limit_seconds
        self._lock = threading.Lock()
        self._sent_at: float | None = None
        self._waiting_since: float | None = None

    def heard(self) -> None:
        with self._lock:
            self._waiting_since = None

    def look(self) -> bool:
        """Send a probe where it is time for one. True where none has come back for too long, although the process was
        idle and the broker took every one of them."""
        now = self._monotonic()
        if not self._idle():
            self.heard()
            return False
        if self._sent_at is None or now - self._sent_at >= self._every:
            try:
                self._send()
            except (StoreError, OperationalError):
                self.heard()
                return False
            with self._lock:
                self._sent_at = now
                self._waiting_since = now if self._waiting_since is None else self._waiting_since
        return self._waiting_since is not None and now - self._waiting_since >= self._limit


class ProbeQueue:
    """A queue that only this process reads. It has no binding, its messages need no acknowledgement, and its key
    expires: nothing is left behind, however the process ends."""

    def __init__(self, app: Celery, broker: redis.Redis, worker: str) -> None:
        self.name = f"probe.{worker}"
        self._app = app
        self._broker = broker
        self._queue = Queue(self.name, Exchange(""), routing_key=self.name, no_ack=True)
        app.amqp.queues.add(self._queue)

    def receive_with(self, heard: Callable[[], None]) -> None:
        def probe() -> None:
            heard()

        self._app.task(name=TASK_PROBE, acks_late=False, shared=False)(probe)

    def send(self) -> None:
        """Raises StoreError or OperationalError where the broker does not take it."""
        self._app.send_task(TASK_PROBE, queue=self._queue, expires=KEPT_SECONDS, retry=False)
        with store_errors():
            self._broker.expire(self.name, KEPT_SECONDS)

    def remove(self) -> None:
        with store_errors():
            self._broker.delete(self.name)
