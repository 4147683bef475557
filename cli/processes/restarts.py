"""Keeps the parts of a running stack running: what ended is started again after a pause, and a line says so.

Knows pauses and sentences; knows nothing of what the parts do. Times are given by the caller (time.monotonic).
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
"""A part that lived this long has not failed at its start: the next pause is the first again."""


class Part(Protocol):
    """A process of the stack."""

    @property
    def name(self) -> str:
        """For sentences: "Redis", "the API"."""
        ...

    def ending(self) -> str | None:
        """How it ended unasked ("signal 9", "exit code 1: its last words"); None while it runs."""
        ...

    def restart(self) -> None:
        """Start it again as it was. Returns at once. Raises SetupError where that cannot be done now."""
        ...


@dataclass
class _Watch:
    """A part and its pauses. `start_at` is None while the part runs."""

    part: Part
    started_at: float
    start_at: float | None = None
    pause_seconds: float = FIRST_PAUSE_SECONDS

    def next_pause(self) -> float:
        """How long to wait this time; twice as long the next time."""
        pause = self.pause_seconds
        self.pause_seconds = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return pause


class Keeper:
    """Call `look` every half second or so, from the thread that started the parts: on Linux they live with it."""

    def __init__(self, parts: Iterable[Part], say: Callable[[str], None], now: float) -> None:
        self._watches = [_Watch(part, now) for part in parts]
        self._say = say

    def look(self, now: float) -> None:
        """Notice what has ended, start again what has waited long enough. Never waits; gives nothing up."""
        for watch in self._watches:
            if watch.start_at is None:
                self._notice_end(watch, now)
            elif now >= watch.start_at:
                self._start_again(watch, now)

    def _notice_end(self, watch: _Watch, now: float) -> None:
        if (ending := watch.part.ending()) is None:
            return
        if now - watch.started_at >= STEADY_SECONDS:
            watch.pause_seconds = FIRST_PAUSE_SECONDS
        pause = watch.next_pause()
        watch.start_at = now + pause
        self._say(f"{capitalized(watch.part.name)} ended ({ending}), starting it again in {pause:g} s")

    def _start_again(self, watch: _Watch, now: float) -> None:
        try:
            watch.part.restart()
        except SetupError as error:
            pause = watch.next_pause()
            watch.start_at = now + pause
            self._say(f"{error.message.rstrip('.')}; trying again in {pause:g} s")
            return
        watch.started_at, watch.start_at = now, None
        self._say(f"{capitalized(watch.part.name)} was started again")
