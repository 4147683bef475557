"""Notices that this process has stopped consuming: while idle it sends itself messages through the broker.

A heartbeat only proves that a thread runs; a message that comes back proves that tasks arrive.
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
"""The queue of a killed process expires after this."""


class SelfProbe:
    """Call `has_failed` every second or two, and `received` for each probe that arrives."""

    def __init__(
        self,
        send: Callable[[], None],
        idle: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        every_seconds: float = EVERY_SECONDS,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """`send` raises StoreError or OperationalError if the broker refuses the message. `idle`: see has_failed."""
        self._send = send
        self._idle = idle
        self._monotonic = monotonic
        self._every = every_seconds
        self._limit = limit_seconds
        self._lock = threading.Lock()
        self._sent_at: float | None = None
        self._waiting_since: float | None = None

    def received(self) -> None:
        with self._lock:
            self._waiting_since = None

    def has_failed(self) -> bool:
        """Send a probe if one is due. True if none came back for too long, although the process was idle and the broker
        accepted them."""
        now = self._monotonic()
        if not self._idle():
            self.received()
            return False
        if self._sent_at is None or now - self._sent_at >= self._every:
            try:
                self._send()
            except (StoreError, OperationalError):
                self.received()
                return False
            with self._lock:
                self._sent_at = now
                self._waiting_since = now if self._waiting_since is None else self._waiting_since
        return self._waiting_since is not None and now - self._waiting_since >= self._limit


class ProbeQueue:
    """A queue that only this process reads. It has no binding, needs no acknowledgements, and its key expires, so that
    nothing remains after the process, however it ends."""

    def __init__(self, app: Celery, broker: redis.Redis, worker: str) -> None:
        self.name = f"probe.{worker}"
        self._app = app
        self._broker = broker
        self._queue = Queue(self.name, Exchange(""), routing_key=self.name, no_ack=True)
        app.amqp.queues.add(self._queue)

    def receive_with(self, received: Callable[[], None]) -> None:
        def probe() -> None:
            received()

        self._app.task(name=TASK_PROBE, acks_late=False, shared=False)(probe)

    def send(self) -> None:
        """Raises StoreError or OperationalError if the broker refuses the message."""
        self._app.send_task(TASK_PROBE, queue=self._queue, expires=KEPT_SECONDS, retry=False)
        with store_errors():
            self._broker.expire(self.name, KEPT_SECONDS)

    def remove(self) -> None:
        with store_errors():
            self._broker.delete(self.name)
