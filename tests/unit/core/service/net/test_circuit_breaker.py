"""When calls to a server that did not answer are refused, and when one is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.service.net.circuit_breaker import PAUSE_SECONDS, TRIAL_SECONDS, CircuitBreaker


@dataclass
class Bench:
    now: float = 100.0
    breaker: CircuitBreaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = CircuitBreaker(monotonic=lambda: self.now)


def test_a_gate_is_open_until_a_call_fails() -> None:
    bench = Bench()
    assert all(bench.breaker.allows_call() for _ in range(100))
    bench.breaker.record_failure()
    assert not bench.breaker.allows_call()


def test_after_the_pause_one_call_tries_and_the_others_are_refused() -> None:
    bench = Bench()
    bench.breaker.record_failure()
    bench.now += PAUSE_SECONDS
    assert [bench.breaker.allows_call() for _ in range(5)] == [True, False, False, False, False]


def test_a_call_that_passed_opens_the_gate_for_all() -> None:
    bench = Bench()
    bench.breaker.record_failure()
    bench.now += PAUSE_SECONDS
    assert bench.breaker.allows_call()
    bench.breaker.record_success()
    assert all(bench.breaker.allows_call() for _ in range(5))


def test_a_trial_that_fails_closes_it_for_another_pause() -> None:
    bench = Bench()
    bench.breaker.record_failure()
    bench.now += PAUSE_SECONDS
    assert bench.breaker.allows_call()
    bench.breaker.record_failure()
    assert not bench.breaker.allows_call()
    bench.now += PAUSE_SECONDS
    assert bench.breaker.allows_call()


def test_a_trial_that_never_reports_does_not_close_it_for_ever() -> None:
    bench = Bench()
    bench.breaker.record_failure()
    bench.now += PAUSE_SECONDS
    assert bench.breaker.allows_call()
    bench.now += TRIAL_SECONDS
    assert bench.breaker.allows_call()
