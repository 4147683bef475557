"""A circuit breaker: after a server has not answered, calls to it are refused at once for a moment.

Without it every request to a server that hangs holds a thread until its own timeout, and a handful of clients that ask
again and again hold them all. Knows neither Redis nor S3: whoever talks to a server asks before and reports after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PAUSE_SECONDS = 1.0
TRIAL_SECONDS = 3.0
"""A trial call that has not reported by then is given up; longer than any timeout of whoever uses a breaker."""


class CircuitBreaker:
    """Closed for `pause_seconds` after a failure; then one call at a time may try, until one passes. Thread-safe."""

    def __init__(self, pause_seconds: float = PAUSE_SECONDS, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pause_seconds = pause_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failing = False
        self._closed_until = 0.0

    def allows_call(self) -> bool:
        """Whether a call may be made now. One that was admitted reports `record_success` or `record_failure`."""
        if not self._failing:  # the usual case, without the lock: at worst one call more gets through
            return True
        with self._lock:
            now = self._monotonic()
            if self._failing and now < self._closed_until:
                return False
            self._closed_until = now + TRIAL_SECONDS
            return True

    def record_success(self) -> None:
        """The server has answered, whatever it said."""
        if self._failing:
            with self._lock:
                self._failing = False

    def record_failure(self) -> None:
        """The server did not answer."""
        with self._lock:
            self._failing = True
            self._closed_until = self._monotonic() + self._pause_seconds
