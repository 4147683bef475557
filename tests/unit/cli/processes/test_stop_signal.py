"""Signals are acted on only inside `interruptible`."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from cli.processes.stop_signal import Stopped, StopSignal


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    installed = StopSignal()
    installed.install()
    yield installed
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_signal_during_the_wait_ends_it(stop: StopSignal) -> None:
    with pytest.raises(Stopped) as stopped, stop.interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.exit_code == 143


def test_a_signal_while_starting_waits_for_the_next_safe_place(stop: StopSignal) -> None:
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(Stopped) as stopped, stop.interruptible():
        pytest.fail("the block must not be entered")
    assert stopped.value.exit_code == 130


def test_further_signals_do_not_disturb_the_cleaning_up(stop: StopSignal) -> None:
    with pytest.raises(Stopped), stop.interruptible():
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
