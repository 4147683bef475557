"""A thread that does something every few seconds, or at once when woken, and lives through its errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from core.service.domain.errors import LongtakeError

logger = logging.getLogger(__name__)


class Ticker:
    """Calls `action` when started and then `interval_seconds` after each call, until stopped."""

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
        """Do it now (once more, if it is being done)."""
        self._wake.set()

    def stop(self, timeout_seconds: float) -> None:
        """Stop after the call in progress, waiting for it so long at most."""
        self.tell_to_stop()
        self.join(timeout_seconds)

    def tell_to_stop(self) -> None:
        """Stop after the call in progress."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait until it has stopped, so long at most."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._act()
            self._wake.wait(self._interval)
            self._wake.clear()

    def _act(self) -> None:
        """An outage is told once when it begins, not with every try."""
        try:
            self._action()
            self._failing = False
        except LongtakeError as error:
            logger.log(logging.DEBUG if self._failing else logging.WARNING, "%s: %s", self._thread.name, error.message)
            self._failing = True
        except Exception:  # a thread's outermost frame: nobody is above to tell, and the next call may succeed
            logger.exception("%s failed", self._thread.name)
