"""What child processes share: ending with the process that started them. Knows no service and no model."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec must not import or allocate more than it has to.
_libc = ctypes.CDLL(None)


def end_with_parent(by: signal.Signals = signal.SIGTERM) -> None:
    """In the child: get the signal `by` when the thread that started it ends, even by SIGKILL. Linux only."""
    _libc.prctl(_PR_SET_PDEATHSIG, by)
