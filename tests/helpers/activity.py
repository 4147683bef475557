"""The activity of a worker process whose time is moved by hand."""

from __future__ import annotations

from core.service.domain.ports import WorkerStatus
from core.service.testing.clock import FakeClock
from core.service.testing.registries import FakeWorkerRegistry
from worker.runtime.status import StatusBoard, Watchdog


class Monotonic:
    """A clock of seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_board() -> tuple[FakeWorkerRegistry, StatusBoard]:
    clock = FakeClock()
    registry = FakeWorkerRegistry(clock)
    status = WorkerStatus(
        name="w", kind="generate", model="sprites", state="starting", device="cpu", pid=1, started_at=clock.now()
    )
    return registry, StatusBoard(registry, status)


def make_watchdog(clock: Monotonic, *, quick_steps: int = 0) -> Watchdog:
    """A watchdog of a process in a task, which has made steps of 0.1 s: after them 10 s are a stall, 1000 s before."""
    watchdog = Watchdog(clock, least_seconds=10, first_seconds=1000, factor=20)
    watchdog.busy()
    for _ in range(quick_steps):
        clock.now += 0.1
        watchdog.beat()
    return watchdog
