"""Limits that a program of ours sets for itself before it reads files that others made."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path


def set_limit(which: int, most: int, hard: int | None = None) -> None:
    """Irreversible. Ignored if the system has no such limit, or a lower one."""
    with suppress(ValueError, OSError):
        resource.setrlimit(which, (most, most if hard is None else hard))


def limit_memory(more_bytes: int) -> None:
    """`more_bytes` beyond the memory in use now. Without effect on systems without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return
    set_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + more_bytes)
