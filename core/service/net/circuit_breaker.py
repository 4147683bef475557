"""A circuit breaker: after a server has not answered, calls to it fail at once for a moment.

Without it every request to a hanging server holds a thread until its timeout, and a few retrying clients hold them all.
Clients of Redis and S3 ask it before a call and report the outcome after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PAUSE_SECONDS = 1.0
TRIAL_SECONDS = 3.0
"""A trial call that has not reported by then counts as lost; longer than any timeout of the callers."""


class CircuitBreaker:
    """Refuses calls for `pause_seconds` after a failure, then allows one trial call at a time until one succeeds.

    Thread-safe.
    """

    def __init__(self, pause_seconds: float = PAUSE_SECONDS, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pause_seconds = pause_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failing = False
        self._open_until = 0.0

    def allows_call(self) -> bool:
        """Whether a call may be made now. The caller then calls `record_success` or `record_failure`."""
        if not self._failing:  # the usual case, without the lock: at worst one more call is made
            return True
        with self._lock:
            now = self._monotonic()
            if self._failing and now < self._open_until:
                return False
            self._open_until = now + TRIAL_SECONDS
            return True

    def record_success(self) -> None:
        """The server has answered, even with an error."""
        if self._failing:
            with self._lock:
                self._failing = False

    def record_failure(self) -> None:
        """The server did not answer."""
        with self._lock:
            self._failing = True
            self._open_until = self._monotonic() + self._pause_seconds
