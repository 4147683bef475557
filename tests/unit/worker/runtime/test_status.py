"""The watchdog detects hangs from earlier step times; the status board reports each change."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.helpers.activity import Monotonic, make_board, make_watchdog
from worker.runtime.status import ProcessActivity, Watchdog


def test_a_pause_many_times_the_longest_step_is_a_stall() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock)
    clock.now += 500
    watchdog.beat()
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
    for _ in range(2):
        clock.now += 0.01
        watchdog.beat()
    clock.now += 9
    assert watchdog.stalled_seconds() is None


def test_after_quick_steps_standing_still_is_noticed_soon() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    clock.now += 11
    assert watchdog.stalled_seconds() == pytest.approx(11)


def test_what_precedes_the_first_step_of_a_task_is_no_measure_of_steps() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    watchdog.idle()
    watchdog.busy()
    clock.now += 9
    watchdog.beat()
    clock.now += 11
    assert watchdog.stalled_seconds() == pytest.approx(11)


def test_loading_within_a_task_may_take_as_long_as_a_first_step() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    with watchdog.loading():
        clock.now += 999
        assert watchdog.stalled_seconds() is None
        clock.now += 2
        assert watchdog.stalled_seconds() == pytest.approx(1001)


def test_loading_that_moves_on_may_take_any_time() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    with watchdog.loading():
        for _ in range(10):
            clock.now += 900
            watchdog.alive()
            assert watchdog.stalled_seconds() is None


def test_compiling_in_a_step_is_no_measure_of_steps() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    with watchdog.loading():
        clock.now += 600
    clock.now += 9
    assert watchdog.stalled_seconds() is None
    watchdog.beat()
    clock.now += 11
    assert watchdog.stalled_seconds() == pytest.approx(11)


def test_compiling_within_loading_does_not_end_its_patience() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    with watchdog.loading():
        with watchdog.loading():
            clock.now += 500
        clock.now += 500
        assert watchdog.stalled_seconds() is None


def test_patience_ends_with_loading_that_fails() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    with suppress(ValueError), watchdog.loading():
        raise ValueError
    clock.now += 11
    assert watchdog.stalled_seconds() == pytest.approx(11)


def test_loading_before_any_task_leaves_the_process_idle() -> None:
    clock = Monotonic()
    watchdog = Watchdog(clock)
    with watchdog.loading():
        clock.now += 9999
        assert watchdog.stalled_seconds() is None
    clock.now += 9999
    assert watchdog.stalled_seconds() is None


def test_waiting_for_a_server_is_no_standing_still_and_no_measure_of_steps() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    for _ in range(1000):
        clock.now += 9
        watchdog.alive()
        assert watchdog.stalled_seconds() is None
    clock.now += 9
    watchdog.beat()
    clock.now += 11
    assert watchdog.stalled_seconds() == pytest.approx(11)


def test_a_wait_that_hangs_itself_is_noticed() -> None:
    clock = Monotonic()
    watchdog = make_watchdog(clock, quick_steps=5)
    watchdog.alive()
    clock.now += 11
    assert watchdog.stalled_seconds() == pytest.approx(11)


def test_the_board_reports_work_and_leaves() -> None:
    registry, board = make_board()
    activity = ProcessActivity(board, Watchdog())
    activity.busy("job_a")
    assert [(status.state, status.job_id) for status in registry.all()] == [("busy", "job_a")]
    activity.idle()
    assert [(status.state, status.job_id) for status in registry.all()] == [("ready", None)]
    board.leave()
    assert registry.all() == []


def test_the_board_shows_what_a_task_waits_for_until_the_next_step() -> None:
    registry, board = make_board()
    activity = ProcessActivity(board, Watchdog())
    activity.busy("job_a")
    activity.waiting("the storage does not answer")
    board.report()
    (status,) = registry.all()
    assert (status.state, status.job_id, status.reason) == ("busy", "job_a", "the storage does not answer")
    activity.beat()
    board.report()
    assert [status.reason for status in registry.all()] == [None]


def test_a_step_beside_a_thread_that_waits_leaves_the_reason() -> None:
    registry, board = make_board()
    activity = ProcessActivity(board, Watchdog())
    activity.busy("job_a")
    activity.waiting("the storage does not answer")
    activity.beat(while_waiting=True)
    board.report()
    assert [status.reason for status in registry.all()] == ["the storage does not answer"]


def test_waits_beside_a_task_hide_no_hang_until_the_task_waits_for_them() -> None:
    clock, (registry, board) = Monotonic(), make_board()
    watchdog = make_watchdog(clock, quick_steps=3)
    activity = ProcessActivity(board, watchdog)
    for _ in range(3):
        clock.now += 5
        with activity.beside():
            activity.waiting("the storage does not answer")
    board.report()
    assert [status.reason for status in registry.all()] == ["the storage does not answer"]
    assert watchdog.stalled_seconds() == pytest.approx(15)
    activity.waiting_for_beside()
    assert watchdog.stalled_seconds() is None
    clock.now += 11
    activity.waiting_for_beside()
    assert watchdog.stalled_seconds() == pytest.approx(11)


def test_waits_beside_a_task_leave_the_measure_of_its_steps() -> None:
    clock, (_, board) = Monotonic(), make_board()
    watchdog = make_watchdog(clock)
    activity = ProcessActivity(board, watchdog)
    activity.beat()
    with activity.beside():
        activity.waiting("the storage does not answer")
    clock.now += 1
    activity.beat()
    clock.now += 21
    assert watchdog.stalled_seconds() == pytest.approx(21)


def test_an_older_wait_beside_a_task_does_not_age_its_newest_sign() -> None:
    clock, (_, board) = Monotonic(), make_board()
    watchdog = make_watchdog(clock, quick_steps=3)
    activity = ProcessActivity(board, watchdog)
    with activity.beside():
        activity.waiting("the storage does not answer")
    clock.now += 9
    activity.beat()
    activity.waiting_for_beside()
    clock.now += 9
    assert watchdog.stalled_seconds() is None


def test_the_time_between_two_chunks_of_a_task_is_not_a_step() -> None:
    clock, (_, board) = Monotonic(), make_board()
    watchdog = make_watchdog(clock, quick_steps=3)
    activity = ProcessActivity(board, watchdog)
    clock.now += 5
    activity.alive()
    clock.now += 0.1
    activity.beat()
    clock.now += 11
    assert watchdog.stalled_seconds() == pytest.approx(11)


def test_waiting_asks_nothing_of_the_registry_which_may_be_what_is_waited_for() -> None:
    registry, board = make_board()
    activity = ProcessActivity(board, Watchdog())
    activity.busy("job_a")
    activity.waiting("Redis does not answer")
    assert [status.reason for status in registry.all()] == [None]


def test_the_board_shows_what_is_loaded_and_then_what_it_showed_before() -> None:
    clock, (registry, board) = Monotonic(), make_board()
    activity = ProcessActivity(board, Watchdog(clock))
    board.set("starting", reason="installing")
    with activity.loading("loading the refiner"):
        board.report()
        assert [status.reason for status in registry.all()] == ["loading the refiner"]
    board.report()
    assert [(status.state, status.reason) for status in registry.all()] == [("starting", "installing")]


def test_a_task_that_loads_its_refiner_longer_than_steps_took_is_not_given_up() -> None:
    clock, (_, board) = Monotonic(), make_board()
    watchdog = Watchdog(clock)
    activity = ProcessActivity(board, watchdog)
    activity.busy("job_a")
    for _ in range(3):
        clock.now += 0.1
        activity.beat()
    activity.idle()
    activity.busy("job_a")
    with activity.loading("loading the refiner"):
        clock.now += 600
        assert watchdog.stalled_seconds() is None
        for _ in range(10):
            clock.now += 1200
            activity.waiting("installing large: 5 %")
            assert watchdog.stalled_seconds() is None


def test_a_draining_process_never_looks_ready_again() -> None:
    registry, board = make_board()
    board.set("draining")
    ProcessActivity(board, Watchdog()).idle()
    assert [status.state for status in registry.all()] == ["draining"]
