"""A short outage of the object store costs waiting; a missing object or a long outage does not hide."""

from __future__ import annotations

import pytest

from core.service.errors import Interrupted, ObjectNotFound, StorageError
from worker.uploads import patiently


class Flaky:
    """Fails the first `failures` times."""

    def __init__(self, failures: int, error: type[StorageError] = StorageError) -> None:
        self.failures = failures
        self.calls = 0
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self._error
        return "done"


def test_an_outage_is_waited_for_with_growing_pauses() -> None:
    pauses: list[float] = []
    assert patiently(Flaky(6), pauses.append) == "done"
    assert pauses == [0.5, 1, 2, 4, 8, 10]


def test_an_outage_longer_than_the_patience_is_told() -> None:
    action = Flaky(2)
    with pytest.raises(StorageError):
        patiently(action, lambda _: None, patience_seconds=0)
    assert action.calls == 1


def test_a_missing_object_is_an_answer() -> None:
    action = Flaky(1, ObjectNotFound)
    with pytest.raises(ObjectNotFound):
        patiently(action, lambda _: None)
    assert action.calls == 1


def test_whoever_waits_can_be_told_to_stop() -> None:
    def stop(_seconds: float) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        patiently(Flaky(1), stop)
