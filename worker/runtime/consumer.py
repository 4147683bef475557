"""A Celery consumer that survives an outage of the broker, so that the weights stay loaded.

Celery exits if Redis refuses a command, and connects to a Redis that is read-only. This one waits until the broker
takes writes.
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
    """The state of the connection to the broker. `on_away` is called with the reason, repeatedly, while the process
    cannot consume; `on_consuming` when it can. `broker` must have short timeouts, so that the process can stop."""

    def __init__(self, broker: redis.Redis, on_away: Callable[[str], None], on_consuming: Callable[[], None]) -> None:
        self._broker = broker
        self._on_away = on_away
        self._on_consuming = on_consuming
        self._pause = threading.Event()
        self.consuming = False

    def check(self) -> None:
        """Raises StoreError if the broker does not take writes."""
        check_store(self._broker)

    def lost(self, error: Exception) -> None:
        """Celery has lost its connection."""
        self.consuming = False
        self._on_away(f"connection to the broker lost: {error}")

    def ready(self) -> None:
        """Celery consumes (again)."""
        self.consuming = True
        self._on_consuming()

    def wait(self, keep_waiting: Callable[[], bool]) -> None:
        """Wait until the broker takes writes or `keep_waiting` returns False or raises."""
        while keep_waiting():
            try:
                return self.check()
            except StoreError as error:
                self._on_away(f"broker: {error.with_fix}")
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
