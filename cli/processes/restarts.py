"""Restarts the processes of a stack that end, after growing pauses, and prints a line about it.

The caller passes the time (time.monotonic).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from cli.processes.child import capitalized
from core.service.domain.errors import SetupError

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""After this long a process has not failed at its start, so its next pause is FIRST_PAUSE_SECONDS again."""


class Part(Protocol):
    """A process of the stack."""

    @property
    def name(self) -> str:
        """As sentences have it: "Redis", "the API"."""
        ...

    def ending(self) -> str | None:
        """How it ended ("signal 9", "exit code 1: last line of its log"); None while it runs."""
        ...

    def restart(self) -> None:
        """Start it again with the same command. Does not wait. Raises SetupError if it cannot be started now."""
        ...


@dataclass
class _WatchedPart:
    """A part and its pauses. `start_at` is when to restart it; None while it runs."""

    part: Part
    started_at: float
    start_at: float | None = None
    pause_seconds: float = FIRST_PAUSE_SECONDS

    def next_pause(self) -> float:
        """The pause before this restart; the next one is twice as long."""
        pause = self.pause_seconds
        self.pause_seconds = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return pause


class Restarter:
    """Call `check` about every half second, from the thread that started the parts (on Linux they end with it)."""

    def __init__(self, parts: Iterable[Part], say: Callable[[str], None], now: float) -> None:
        self._watches = [_WatchedPart(part, now) for part in parts]
        self._say = say

    def check(self, now: float) -> None:
        """Notice parts that have ended and restart those whose pause is over. Does not wait; never gives up."""
        for watch in self._watches:
            if watch.start_at is None:
                self._notice_end(watch, now)
            elif now >= watch.start_at:
                self._start_again(watch, now)

    def _notice_end(self, watch: _WatchedPart, now: float) -> None:
        if (ending := watch.part.ending()) is None:
            return
        if now - watch.started_at >= STEADY_SECONDS:
            watch.pause_seconds = FIRST_PAUSE_SECONDS
        pause = watch.next_pause()
        watch.start_at = now + pause
        self._say(f"{capitalized(watch.part.name)} ended ({ending}), starting it again in {pause:g} s")

    def _start_again(self, watch: _WatchedPart, now: float) -> None:
        try:
            watch.part.restart()
        except SetupError as error:
            pause = watch.next_pause()
            watch.start_at = now + pause
            self._say(f"{error.message.rstrip('.')}; trying again in {pause:g} s")
            return
        watch.started_at, watch.start_at = now, None
        self._say(f"{capitalized(watch.part.name)} was started again")
