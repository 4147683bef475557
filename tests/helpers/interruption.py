"""Runs a function at the n-th call of a worker to its store or storage, for tests of races at every call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.helpers.fake_world import World
from worker.runtime.services import Services


class Interruption:
    """Does something at the `at`-th call of a port, before or after the call itself."""

    def __init__(self, at: int, act: Callable[[], object], *, before: bool) -> None:
        self._at, self._act, self._before = at, act, before
        self._calls = 0
        self.done = False

    def port(self, port: object) -> Any:
        return InterceptedPort(port, self.call)

    def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._calls += 1
        now = self._calls == self._at
        if now and self._before:
            self._interrupt()
        result = method(*args, **kwargs)
        if now and not self._before:
            self._interrupt()
        return result

    def _interrupt(self) -> None:
        self.done = True
        self._act()


class InterceptedPort:
    """A port whose calls all go through `call(method, *args, **kwargs)`."""

    def __init__(self, port: object, call: Callable[..., Any]) -> None:
        self._port = port
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, getattr(self._port, name))


def interrupted_services(world: World, interruption: Interruption) -> Services:
    """A worker's services, with `interruption` in each call of store and storage."""
    services = world.services("worker-1")
    ports = {name: interruption.port(getattr(services, name)) for name in ("store", "storage")}
    return replace(services, **ports)
