"""Wakes thousands of listeners without blocking the event loop for other requests.

After each slice of listeners the loop is left to others for three times as long as the slice took (events), or nine
times (progress: a listener that is woken later sends a newer report instead). Updates thus take a bounded share of the
loop. Jobs take turns, so a job with one listener does not wait for another one's thousands.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Protocol

SLICE = 8
"""Listeners woken at once: about a millisecond of work."""
PAUSE_AFTER_EVENTS = 3.0
PAUSE_AFTER_PROGRESS = 9.0
"""Multiples of the time that the slice took."""


class Wakeable(Protocol):
    def wake(self) -> None: ...


class FairWakeups:
    """Listeners to wake, each once, by group. Groups take turns."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, dict[Wakeable, None]] = OrderedDict()

    def add(self, group: Hashable, listeners: Iterable[Wakeable]) -> None:
        waiting = self._groups.setdefault(group, {})
        waiting.update(dict.fromkeys(listeners))
        if not waiting:
            del self._groups[group]

    def __bool__(self) -> bool:
        return bool(self._groups)

    def wake_one(self) -> None:
        group, waiting = self._groups.popitem(last=False)
        listener = next(iter(waiting))
        del waiting[listener]
        if waiting:
            self._groups[group] = waiting
        listener.wake()


class FanOut:
    """Both kinds of updates of one event loop; events first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events = FairWakeups()
        self._progress = FairWakeups()
        self._events_from = 0.0
        self._progress_from = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._in_slice = False

    def events(self, group: Hashable, listeners: Iterable[Wakeable]) -> None:
        self._events.add(group, listeners)
        self._schedule()

    def progress(self, group: Hashable, listeners: Iterable[Wakeable]) -> None:
        self._progress.add(group, listeners)
        self._schedule()

    def _schedule(self) -> None:
        """Run the next slice as soon as the pause is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._in_slice or not (self._events or self._progress):
            return
        at = self._events_from if self._events else max(self._events_from, self._progress_from)
        self._timer = self._loop.call_at(at, self._slice)

    def _slice(self) -> None:
        self._timer, self._in_slice = None, True
        wakeups, pause = (self._events, PAUSE_AFTER_EVENTS) if self._events else (self._progress, PAUSE_AFTER_PROGRESS)
        began = self._loop.time()
        for _ in range(SLICE):
            if wakeups:
                wakeups.wake_one()
        self._loop.call_soon(self._pause, began, pause, wakeups is self._progress)  # after the woken listeners ran

    def _pause(self, began: float, pause: float, was_progress: bool) -> None:
        now = self._loop.time()
        until = now + pause * (now - began)
        if was_progress:
            self._progress_from = until
        else:
            self._events_from = until
        self._in_slice = False
        self._schedule()
