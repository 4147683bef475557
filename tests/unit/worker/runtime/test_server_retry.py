"""Failing servers are retried, final errors are raised at once, and a waiting caller can stop."""

from __future__ import annotations

import threading

import pytest

from core.service.domain.errors import (
    Interrupted,
    LongtakeError,
    ObjectDamaged,
    ObjectNotFound,
    StorageFull,
    StoreUnavailable,
)
from core.service.request_ids import current_request_id, working_for
from worker.runtime.server_retry import ServerCall, with_retries


class Flaky:
    """Fails the first `failures` times."""

    def __init__(self, failures: int, error: type[LongtakeError] = StorageFull) -> None:
        self.failures = failures
        self.calls = 0
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self._error
        return "done"


def no_pause(_seconds: float, _reason: str) -> None: ...


@pytest.mark.parametrize("error", [StorageFull, StoreUnavailable])
def test_an_outage_is_waited_for_with_growing_pauses_and_its_reason(error: type[LongtakeError]) -> None:
    pauses: list[tuple[float, str]] = []
    assert with_retries(Flaky(6, error), lambda seconds, reason: pauses.append((seconds, reason))) == "done"
    assert [seconds for seconds, _ in pauses] == [0.5, 1, 2, 4, 5, 5]
    assert {reason for _, reason in pauses} == {error().message}


@pytest.mark.parametrize("error", [ObjectNotFound, ObjectDamaged])
def test_what_another_try_does_not_change_is_an_answer(error: type[LongtakeError]) -> None:
    action = Flaky(1, error)
    with pytest.raises(error):
        with_retries(action, no_pause)
    assert action.calls == 1


def test_a_wait_can_be_stopped() -> None:
    def stop(_seconds: float, _reason: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        with_retries(Flaky(1), stop)


def test_a_call_that_hangs_is_left_alone_when_there_is_a_reason_to_stop() -> None:
    hangs = threading.Event()

    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        ServerCall(hangs.wait).result(stop)
    hangs.set()


def test_a_call_gives_its_result_or_its_error() -> None:
    assert ServerCall(Flaky(0)).result(lambda: None) == "done"
    with pytest.raises(ObjectNotFound):
        ServerCall(Flaky(1, ObjectNotFound)).result(lambda: None)


def test_a_call_works_for_the_request_of_its_caller() -> None:
    with working_for("request-1"):
        assert ServerCall(current_request_id).result(lambda: None) == "request-1"
