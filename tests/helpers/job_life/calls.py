"""Calls of servers without the threads that the service makes them in."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, TypeVar

import pytest

import worker.lanes.completion
import worker.lanes.server_access

T = TypeVar("T")


class SequentialServerCall(Generic[T]):
    """patience.ServerCall without its thread: calls that run side by side in the service run one after the other, so
    that a run can be repeated. That a call may hang has tests of its own."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._result = action()

    def result(self, check: Callable[[], None]) -> T:
        del check
        return self._result

    def result_within(self, seconds: float) -> T:
        del seconds
        return self._result


@contextmanager
def calls_in_order() -> Generator[None]:
    """No port is patched, only the threads in which ports are called: see SequentialServerCall."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (worker.lanes.completion, worker.lanes.server_access):
            patch.setattr(module, "ServerCall", SequentialServerCall)
        yield
