"""How a process consumes from a broker that fails: it stays, with its weights loaded, and goes on when the broker does.

Celery ends a worker where Redis refuses something, and takes one that can read for one that can work. Here it waits
until the broker takes writes. Knows no job.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import redis
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from core.service.domain.errors import StoreError
from core.service.redis.health import check_store

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0


class BrokerWatch:
    """What a process knows of its broker. `tell` gets the reason whenever the process cannot consume; it may be called
    again and again with the same one. `broker` is an impatient client: somebody may want the process to stop."""

    def __init__(self, broker: redis.Redis, tell: Callable[[str], None], ready: Callable[[], None]) -> None:
        self._broker = broker
        self._tell = tell
        self._ready = ready
        self._pause = threading.Event()
        self.consuming = False

    def check(self) -> None:
        """Raises StoreError where the broker does not take writes."""
        check_store(self._broker)

    def lost(self, error: Exception) -> None:
        """Celery has lost its connection."""
        self.consuming = False
        self._tell(f"the broker was lost: {error}")

    def ready(self) -> None:
        """Celery consumes, for the first time or again."""
        self.consuming = True
        self._ready()

    def wait(self, goes_on: Callable[[], bool]) -> None:
        """Return once the broker takes writes, or when `goes_on` says no more (it may raise)."""
        while goes_on():
            try:
                return self.check()
            except StoreError as error:
                self._tell(f"the broker: {error.with_fix}")
            self._pause.wait(PAUSE_SECONDS)


class PatientConsumer(Consumer):
    """Celery's consumer; pass `functools.partial(PatientConsumer, watch)` as its class."""

    def __init__(self, watch: BrokerWatch, *args: Any, **kwargs: Any) -> None:
        self._watch = watch
        super().__init__(*args, **kwargs)

    def connect(self) -> Any:
        self._watch.wait(_until_shutdown)
        return super().connect()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        self._watch.lost(exc)
        super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        self._watch.lost(exc)
        super().on_connection_error_after_connected(exc)

    def on_ready(self) -> None:
        super().on_ready()
        self._watch.ready()


def _until_shutdown() -> bool:
    maybe_shutdown()  # raises
    return True
