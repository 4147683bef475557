"""Retries calls of servers that fail: finished work is kept in memory until it can be stored.

A store or object store that is away, full or read-only is no fault of the job, so no attempt is counted. The caller's
pause decides how long to retry (until a drain, a cancel or a lost lease).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, TypeVar

from core.service.domain.errors import ObjectDamaged, ObjectNotFound, StorageError, StoreDamaged, StoreError
from worker import metrics

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
CHECK_SECONDS = 0.25
"""How often a caller waiting for a call that hangs checks whether to stop."""

FINAL_ERRORS = (ObjectNotFound, ObjectDamaged, StoreDamaged)
"""Errors that a retry would not change: the server works."""

T = TypeVar("T")
Pause = Callable[[float, str], None]
"""Waits (seconds, reason). Raises to give up."""


def with_retries(action: Callable[[], T], pause: Pause) -> T:
    """Call `action` until it does not raise StorageError or StoreError. Only `pause` gives up, by raising."""
    seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except FINAL_ERRORS:
            raise
        except (StorageError, StoreError) as error:
            logger.warning("%s; retrying in %.1f s", error.message, seconds)
            metrics.server_retried("redis" if isinstance(error, StoreError) else "storage")
            reason = error.public_message
        pause(seconds, reason)
        seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)


class ServerCall(Generic[T]):
    """A call in a thread of its own, so that its caller can stop waiting if the server hangs. The thread has the
    caller's context: the request in its log lines, and whether it works beside a task."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._action = action
        self._done = threading.Event()
        self._results: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=copy_context().run, args=(self._run,), name="server-call", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether `result` returns or raises at once."""
        return self._done.is_set()

    def result(self, check: Callable[[], None]) -> T:
        """The call's result; raises what the call raised. `check` is called every CHECK_SECONDS and may raise to stop
        waiting; the thread then ends by itself."""
        while not self._done.wait(CHECK_SECONDS):
            check()
        return self._outcome()

    def result_within(self, seconds: float) -> T:
        """The same with a time limit. Raises TimeoutError."""
        if not self._done.wait(seconds):
            raise TimeoutError
        return self._outcome()

    def _outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._action())
        except BaseException as error:  # raised in the waiting thread
            self._error = error
        finally:
            self._done.set()
