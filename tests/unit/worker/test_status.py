"""The watchdog measures hangs by how things moved before; the board reports each change."""

from __future__ import annotations

from core.service.fakes import FakeClock, FakeWorkerRegistry
from core.service.ports import WorkerStatus
from worker.status import ProcessActivity, StatusBoard, Watchdog


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


def test_a_pause_many_times_the_longest_step_is_a_stall() -> None:
    clock = Monotonic()
    watchdog = Watchdog(clock, least_seconds=10, first_seconds=1000, factor=20)
    watchdog.busy()
    clock.now += 2
    watchdog.beat()
    clock.now += 39
    assert watchdog.stalled_seconds() is None
    clock.now += 2
    assert watchdog.stalled_seconds() == 41


def test_before_the_first_step_there_is_more_patience_and_when_idle_no_limit() -> None:
    clock = Monotonic()
    watchdog = Watchdog(clock, least_seconds=10, first_seconds=1000, factor=20)
    clock.now += 5000
    assert watchdog.stalled_seconds() is None
    watchdog.busy()
    clock.now += 999
    assert watchdog.stalled_seconds() is None
    clock.now += 2
    assert watchdog.stalled_seconds() == 1001
    watchdog.idle()
    assert watchdog.stalled_seconds() is None


def test_quick_steps_do_not_make_the_watchdog_nervous() -> None:
    clock = Monotonic()
    watchdog = Watchdog(clock, least_seconds=10, first_seconds=1000, factor=20)
    watchdog.busy()
    clock.now += 0.01
    watchdog.beat()
    clock.now += 9
    assert watchdog.stalled_seconds() is None


def test_the_board_reports_work_and_leaves() -> None:
    registry, board = make_board()
    activity = ProcessActivity(board, Watchdog())
    activity.busy("job_a")
    assert [(status.state, status.job_id) for status in registry.all()] == [("busy", "job_a")]
    activity.idle()
    assert [(status.state, status.job_id) for status in registry.all()] == [("ready", None)]
    board.leave()
    assert registry.all() == []


def test_a_draining_process_never_looks_ready_again() -> None:
    registry, board = make_board()
    board.set("draining")
    ProcessActivity(board, Watchdog()).idle()
    assert [status.state for status in registry.all()] == ["draining"]
