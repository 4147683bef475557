"""QueuedWork for servers that fail: work that is done is kept until it can be handed over. Knows no job.

A store or an object store that is away, full or read-only is the operator's trouble, not a job's: whoever waits asks
often whether it shall go on waiting (a drain, a cancel, a lost lease), and never counts a try.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from core.service.domain.errors import ObjectDamaged, ObjectNotFound, StorageError, StoreDamaged, StoreError

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
CHECK_SECONDS = 0.25
"""How soon a call that hangs is left alone when there is a reason to stop."""

ANSWERS = (ObjectNotFound, ObjectDamaged, StoreDamaged)
"""Errors that another try does not change: the server works."""

T = TypeVar("T")
Pause = Callable[[float, str], None]
"""Wait so many seconds, for this reason. Raises to give up."""


def patiently(action: Callable[[], T], pause: Pause) -> T:
    """Repeat `action` while the store or the object store fails. Only `pause` ends that, by raising."""
    seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except ANSWERS:
            raise
        except (StorageError, StoreError) as error:
            logger.warning("%s; trying again in %.1f s", error.message, seconds)
            reason = error.public_message
        pause(seconds, reason)
        seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)


class ServerCall(Generic[T]):
    """A call in a thread of its own, so that whoever waits for it can stop waiting: a server may hang."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._action = action
        self._done = threading.Event()
        self._results: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="server-call", daemon=True).start()

    def result(self, check: Callable[[], None]) -> T:
        """What the call returned, or raises what it raised. `check` is asked meanwhile and may raise; the thread is
        then left to end by itself."""
        while not self._done.wait(CHECK_SECONDS):
            check()
        return self._outcome()

    def result_within(self, seconds: float) -> T:
        """The same, for those who go on without it. Raises TimeoutError."""
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
        except BaseException as error:  # handed to the thread that waits
            self._error = error
        finally:
            self._done.set()
