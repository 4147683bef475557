"""A thread that calls an action periodically, or at once when woken, and survives its errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from core.service.domain.errors import LongtakeError

logger = logging.getLogger(__name__)


class Ticker:
    """Calls `action` when started, then `interval_seconds` after each call ends."""

    def __init__(self, name: str, interval_seconds: float, action: Callable[[], object]) -> None:
        self._interval = interval_seconds
        self._action = action
        self._failing = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> Ticker:
        self._thread.start()
        return self

    def wake(self) -> None:
        """Call the action now, or once more if it is running."""
        self._wake.set()

    def stop(self, timeout_seconds: float) -> None:
        """Stop after the call in progress; wait for it at most so long."""
        self.request_stop()
        self.join(timeout_seconds)

    def request_stop(self) -> None:
        """Stop after the call in progress."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end, at most so long."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._act()
            self._wake.wait(self._interval)
            self._wake.clear()

    def _act(self) -> None:
        """An outage is logged once when it begins, not at every call."""
        try:
            self._action()
            self._failing = False
        except LongtakeError as error:
            logger.log(logging.DEBUG if self._failing else logging.WARNING, "%s: %s", self._thread.name, error.message)
            self._failing = True
        except Exception:  # the thread's outermost frame: the next call may succeed
            logger.exception("%s failed", self._thread.name)
