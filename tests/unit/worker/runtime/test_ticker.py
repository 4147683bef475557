"""Tickers act at once, again when woken, and survive errors."""

from __future__ import annotations

import logging
import threading

import pytest

from core.service.domain.errors import StoreError
from worker.runtime.ticker import Ticker


def test_it_acts_when_started_and_whenever_woken_until_stopped() -> None:
    acted = threading.Semaphore(0)
    ticker = Ticker("test", 3600, acted.release).start()
    assert acted.acquire(timeout=60)
    ticker.wake()
    assert acted.acquire(timeout=60)
    ticker.stop(10)
    ticker.wake()
    assert not acted.acquire(timeout=0.05)


def test_an_outage_is_survived_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []
    healthy = threading.Event()

    def act() -> None:
        tries.append(1)
        if len(tries) < 4:
            raise StoreError("Redis does not answer")
        healthy.set()

    with caplog.at_level(logging.WARNING):
        ticker = Ticker("janitor", 0.001, act).start()
        assert healthy.wait(60)
        ticker.stop(10)
    assert [record.getMessage() for record in caplog.records] == ["janitor: Redis does not answer"]


def test_a_bug_is_logged_with_its_place_and_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []
    again = threading.Event()

    def act() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise KeyError("a bug")
        again.set()

    ticker = Ticker("janitor", 0.001, act).start()
    assert again.wait(60)
    ticker.stop(10)
    assert "KeyError: 'a bug'" in caplog.text
