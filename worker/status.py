"""What a worker process says of itself, and its guard against standing still. Knows the registry by its port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from core.service.errors import StoreError
from core.service.ports import WorkerRegistry, WorkerStatus

REPORT_SECONDS = 2.0
REPORTS_PER_TTL = 5

State = Literal["starting", "ready", "busy", "not_ready", "draining"]


class StatusBoard:
    """The process's WorkerStatus, reported whenever it changes and by `report` (call it every REPORT_SECONDS)."""

    def __init__(self, registry: WorkerRegistry, status: WorkerStatus) -> None:
        self._registry = registry
        self._status = status
        self._lock = threading.Lock()

    @property
    def status(self) -> WorkerStatus:
        return self._status

    def report(self) -> None:
        """Raises StoreError where nobody can be told."""
        with self._lock:
            self._registry.report(self._status, REPORT_SECONDS * REPORTS_PER_TTL)

    def set(self, state: State, *, reason: str | None = None, job_id: str | None = None) -> None:
        """Change, and report at once if that is possible. A draining process stays draining."""
        with self._lock:
            if self._status.state == "draining":
                return
            self._status = self._status.model_copy(update={"state": state, "reason": reason, "job_id": job_id})
        with suppress(StoreError):  # the next regular report tells it
            self.report()

    def set_device(self, device: str) -> None:
        with self._lock:
            self._status = self._status.model_copy(update={"device": device})

    def leave(self) -> None:
        """The process ends: its entry goes."""
        with suppress(StoreError):  # it expires
            self._registry.remove(self._status.name)


class Watchdog:
    """Knows when a busy process has stopped moving on, measured by how it moved before.

    Steps of one model take alike, so a pause many times the longest so far is a hang. Before the first step of a
    process there is no measure (kernels may be compiled): then `first_seconds` counts.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        least_seconds: float = 300.0,
        first_seconds: float = 1800.0,
        factor: float = 20.0,
    ) -> None:
        self._monotonic = monotonic
        self._least = least_seconds
        self._first = first_seconds
        self._factor = factor
        self._last_beat: float | None = None
        self._longest: float | None = None

    def busy(self) -> None:
        self._last_beat = self._monotonic()

    def idle(self) -> None:
        self._last_beat = None

    def beat(self) -> None:
        now = self._monotonic()
        if self._last_beat is not None:
            self._longest = max(self._longest or 0.0, now - self._last_beat)
        self._last_beat = now

    def stalled_seconds(self) -> float | None:
        """How long nothing has moved, where that is too long; else None."""
        last_beat = self._last_beat
        if last_beat is None:
            return None
        limit = self._first if self._longest is None else max(self._least, self._factor * self._longest)
        paused = self._monotonic() - last_beat
        return paused if paused > limit else None


class ProcessActivity:
    """worker.services.Activity of a real process: tells the board and the watchdog."""

    def __init__(self, board: StatusBoard, watchdog: Watchdog) -> None:
        self._board = board
        self._watchdog = watchdog

    def busy(self, job_id: str) -> None:
        self._watchdog.busy()
        self._board.set("busy", job_id=job_id)

    def beat(self) -> None:
        self._watchdog.beat()

    def waiting(self, reason: str) -> None:
        self._watchdog.busy()
        self._board.set("busy", reason=reason, job_id=self._board.status.job_id)

    def idle(self) -> None:
        self._watchdog.idle()
        self._board.set("ready")
