"""Wakes listeners so that thousands of them leave the event loop to other requests in between.

A slice of listeners is woken, then the loop rests three times as long as they took (events), or nine times (progress:
whoever is woken later sends a newer report instead). So news cost other requests a part of the loop and never a long
wait, whatever the machine and however many listen. Jobs take turns: a job with one listener waits for no other job's
thousands. Knows neither jobs nor Redis.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Protocol

SLICE = 8
"""Listeners woken together: about a millisecond of work."""
REST_AFTER_EVENTS = 3.0
REST_AFTER_PROGRESS = 9.0
"""Times the time that a slice took."""


class Sleeper(Protocol):
    def wake(self) -> None: ...


class Turns:
    """Listeners to wake, each once, by group; groups take turns."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, dict[Sleeper, None]] = OrderedDict()

    def add(self, group: Hashable, sleepers: Iterable[Sleeper]) -> None:
        waiting = self._groups.setdefault(group, {})
        waiting.update(dict.fromkeys(sleepers))
        if not waiting:
            del self._groups[group]

    def __bool__(self) -> bool:
        return bool(self._groups)

    def wake_one(self) -> None:
        group, waiting = self._groups.popitem(last=False)
        sleeper = next(iter(waiting))
        del waiting[sleeper]
        if waiting:
            self._groups[group] = waiting
        sleeper.wake()


class FanOut:
    """Both kinds of news of one event loop; events first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events = Turns()
        self._progress = Turns()
        self._events_from = 0.0
        self._progress_from = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._in_slice = False

    def events(self, group: Hashable, sleepers: Iterable[Sleeper]) -> None:
        self._events.add(group, sleepers)
        self._arm()

    def progress(self, group: Hashable, sleepers: Iterable[Sleeper]) -> None:
        self._progress.add(group, sleepers)
        self._arm()

    def _arm(self) -> None:
        """Go on as soon as the loop has rested."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._in_slice or not (self._events or self._progress):
            return
        at = self._events_from if self._events else max(self._events_from, self._progress_from)
        self._timer = self._loop.call_at(at, self._slice)

    def _slice(self) -> None:
        self._timer, self._in_slice = None, True
        turns, rest = (self._events, REST_AFTER_EVENTS) if self._events else (self._progress, REST_AFTER_PROGRESS)
        began = self._loop.time()
        for _ in range(SLICE):
            if turns:
                turns.wake_one()
        self._loop.call_soon(self._rest, began, rest, turns is self._progress)  # behind all that were woken

    def _rest(self, began: float, rest: float, was_progress: bool) -> None:
        now = self._loop.time()
        until = now + rest * (now - began)
        if was_progress:
            self._progress_from = until
        else:
            self._events_from = until
        self._in_slice = False
        self._arm()
