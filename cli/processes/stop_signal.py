"""Ctrl-C and SIGTERM for commands that own other processes: noticed at once, acted on only when it is safe.

A signal that arrives while a process is being started or stopped waits until that is done, so none is left behind.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Ctrl-C or SIGTERM asked this process to end. `exit_code` is the shell's convention: 128 + signal number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


class StopSignal:
    """Raises Stopped inside `interruptible` blocks; elsewhere the signal waits for the next such block."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._armed = False

    def install(self) -> None:
        """Take over SIGINT and SIGTERM of this process. Main thread only."""
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, self._handle)

    def _handle(self, signal_number: int, _frame: FrameType | None) -> None:
        self._received = self._received or signal_number
        if self._armed:
            self._armed = False
            raise Stopped(signal_number)

    @contextmanager
    def interruptible(self) -> Generator[None]:
        """For code that may be interrupted at any point. Raises Stopped at once if a signal has already come."""
        self._armed = True
        try:
            if self._received is not None:
                raise Stopped(self._received)
            yield
        finally:
            self._armed = False
