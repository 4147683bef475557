"""The status that a worker process reports, and the watchdog that notices a hang."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Literal

from core.service.domain.errors import StoreError
from core.service.domain.ports import WorkerRegistry, WorkerStatus

REPORT_SECONDS = 2.0
REPORTS_PER_TTL = 5

_is_beside = ContextVar("beside", default=False)
"""Whether this thread works beside the task's: worker.runtime.services.Activity.beside."""

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
        """Raises StoreError."""
        with self._lock:
            self._registry.report(self._status, REPORT_SECONDS * REPORTS_PER_TTL)

    def set(self, state: State, *, reason: str | None = None, job_id: str | None = None) -> None:
        """Change the status and report it now if the store answers. A draining process stays draining."""
        with self._lock:
            if self._status.state == "draining":
                return
            self._status = self._status.model_copy(update={"state": state, "reason": reason, "job_id": job_id})
        with suppress(StoreError):  # the next regular report has it
            self.report()

    def set_reason(self, reason: str | None) -> None:
        """Change the reason only. Reported with the next regular report, because the registry may be what is away."""
        with self._lock:
            if self._status.reason != reason and self._status.state != "draining":
                self._status = self._status.model_copy(update={"reason": reason})

    def set_device(self, device: str) -> None:
        with self._lock:
            self._status = self._status.model_copy(update={"device": device})

    def leave(self) -> None:
        """Remove the entry of this process, which ends."""
        with suppress(StoreError):  # it expires
            self._registry.remove(self._status.name)


class Watchdog:
    """Notices when a busy process hangs.

    Steps of one model take similar times, so a pause of `factor` times the longest step so far (at least
    `least_seconds`) is a hang. Before two steps were measured, and while something is loaded or compiled, the limit is
    `first_seconds`. Only the time between two consecutive steps counts as a step's.
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
        self._lock = threading.Lock()  # uploads beat from threads of their own
        self._last_sign: float | None = None
        self._last_was_step = False
        self._last_beside = -math.inf
        self._longest: float | None = None
        self._loading = 0

    def busy(self) -> None:
        """A task begins."""
        with self._lock:
            self._record_sign()

    def idle(self) -> None:
        with self._lock:
            self._last_sign = None

    def beat(self) -> None:
        """A step is done."""
        with self._lock:
            if self._last_sign is not None and self._last_was_step:
                self._longest = max(self._longest or 0.0, self._monotonic() - self._last_sign)
            self._record_sign(step=True)

    def alive(self) -> None:
        """Progress that is not a step. No-op while the process is idle."""
        with self._lock:
            if self._last_sign is not None:
                self._record_sign()

    def alive_beside(self) -> None:
        """The work beside the task is alive, which may itself hang."""
        with self._lock:
            self._last_beside = self._monotonic()

    def follow_beside(self) -> None:
        """The task only waits for the work beside it: the newest sign of that one is the task's."""
        with self._lock:
            if self._last_sign is not None and self._last_sign < self._last_beside:
                self._last_sign, self._last_was_step = self._last_beside, False

    @contextmanager
    def loading(self) -> Generator[None]:
        """Context in which the limit is `first_seconds`. May be nested."""
        self._count_loading(1)
        try:
            yield
        finally:
            self._count_loading(-1)

    def stalled_seconds(self) -> float | None:
        """Seconds since the last progress if that is over the limit, else None."""
        with self._lock:
            if self._last_sign is None:
                return None
            paused = self._monotonic() - self._last_sign
            return paused if paused > self._limit() else None

    def _limit(self) -> float:
        if self._longest is None or self._loading:
            return self._first
        return max(self._least, self._factor * self._longest)

    def _record_sign(self, *, step: bool = False) -> None:
        self._last_sign = self._monotonic()
        self._last_was_step = step

    def _count_loading(self, change: int) -> None:
        with self._lock:
            self._loading += change
        self.alive()


class ProcessActivity:
    """The worker.runtime.services.Activity of a process: updates the board and the watchdog."""

    def __init__(self, board: StatusBoard, watchdog: Watchdog) -> None:
        self._board = board
        self._watchdog = watchdog

    def busy(self, job_id: str) -> None:
        self._watchdog.busy()
        self._board.set("busy", job_id=job_id)

    def beat(self, *, while_waiting: bool = False) -> None:
        self._watchdog.beat()
        if not while_waiting:
            self._board.set_reason(None)

    def alive(self) -> None:
        self._watchdog.alive()

    def waiting(self, reason: str) -> None:
        if _is_beside.get():
            self._watchdog.alive_beside()
        else:
            self._watchdog.alive()
        self._board.set_reason(reason)

    @contextmanager
    def beside(self) -> Generator[None]:
        before = _is_beside.set(True)
        try:
            yield
        finally:
            _is_beside.reset(before)

    def waiting_for_beside(self) -> None:
        self._watchdog.follow_beside()

    @contextmanager
    def loading(self, description: str) -> Generator[None]:
        before = self._board.status.reason
        with self._watchdog.loading():
            self._board.set_reason(description)
            try:
                yield
            finally:
                self._board.set_reason(before)

    def idle(self) -> None:
        self._watchdog.idle()
        self._board.set("ready")
