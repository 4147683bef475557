"""Fixtures of the client's tests: `make_job`, a job as the API shows it, and `ask`, one client of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, cast

import httpx
import pytest

from client import AsyncClient, Client
from tests.helpers.shown_jobs import make_job

__all__ = ["make_job"]

BASE_URL = "http://api.test"
Answer = Callable[[httpx.Request], httpx.Response]


class Ask(Protocol):
    """`ask(answer, (method, *arguments), ...)`: what the calls return, in order; iterators as lists."""

    def __call__(self, answer: Answer, *calls: tuple[Any, ...]) -> list[Any]: ...


def ask_sync(answer: Answer, *calls: tuple[Any, ...]) -> list[Any]:
    with Client(BASE_URL, poll_seconds=0, transport=httpx.MockTransport(answer)) as client:
        results = [getattr(client, name)(*arguments) for name, *arguments in calls]
        return [list(cast("Iterator[Any]", result)) if isinstance(result, Iterator) else result for result in results]


def ask_async(answer: Answer, *calls: tuple[Any, ...]) -> list[Any]:
    async def run() -> list[Any]:
        async with AsyncClient(BASE_URL, poll_seconds=0, transport=httpx.MockTransport(answer)) as client:
            return [await finished(getattr(client, name)(*arguments)) for name, *arguments in calls]

    async def finished(result: Any) -> Any:
        return [entry async for entry in result] if isinstance(result, AsyncIterator) else await result

    return asyncio.run(run())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls methods of a Client and of an AsyncClient whose requests are answered by a function."""
    return request.param
