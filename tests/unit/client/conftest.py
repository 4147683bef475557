"""Fixtures of the client's tests: `make_job`, a job as the API shows it, and `ask`, one client of each kind."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import httpx
import pytest

import core.service.domain.schema as schema
from client import AsyncJob, AsyncLongtake, Job, Longtake
from client.aio.connection import AsyncConnection
from client.calls.jobs import Seen
from client.sync.connection import Connection
from tests.helpers.shown_jobs import make_job

__all__ = ["make_job"]

BASE_URL = "http://api.test"
TOO_FEW = {"code": "too_few_frames", "detail": "5 is too few", "field": "num_frames", "fix": "give at least 16"}
Answer = Callable[[httpx.Request], httpx.Response]
Use = Callable[[Any], Any]
"""Something done with a client or with a job's handle."""


class Recorder:
    """Answers every request with one answer, and keeps method, path and body of each."""

    def __init__(self, body: object = None, status: int = 200) -> None:
        self.sent = list[tuple[str, str, object]]()
        self.headers = list[httpx.Headers]()
        self._body, self._status = body, status

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.sent.append((request.method, request.url.raw_path.decode(), body))
        self.headers.append(request.headers)
        return httpx.Response(self._status) if self._body is None else httpx.Response(self._status, json=self._body)


class Ask(Protocol):
    """`ask(answer, use, ...)`: what the uses return, in order; iterators as lists, handles as the jobs that they show.

    They are given a client, or with `job` a handle of that job."""

    def __call__(
        self, answer: Answer, *uses: Use, job: schema.Job | None = None, key: str | None = None, max_retries: int = 0
    ) -> list[Any]: ...


def ask_sync(
    answer: Answer, *uses: Use, job: schema.Job | None = None, key: str | None = None, max_retries: int = 0
) -> list[Any]:
    def finished(result: Any) -> Any:
        result = list(result) if isinstance(result, Iterator) else result
        return shown(result)

    transport = httpx.MockTransport(answer)
    with Longtake(BASE_URL, key, poll_seconds=0, max_retries=max_retries, transport=transport) as client:
        connection = Connection(BASE_URL, key, max_retries, 0, transport)
        subject = client if job is None else Job(connection, Seen(job))
        return [finished(use(subject)) for use in uses]


def ask_async(
    answer: Answer, *uses: Use, job: schema.Job | None = None, key: str | None = None, max_retries: int = 0
) -> list[Any]:
    async def run() -> list[Any]:
        transport = httpx.MockTransport(answer)
        async with AsyncLongtake(BASE_URL, key, poll_seconds=0, max_retries=max_retries, transport=transport) as client:
            connection = AsyncConnection(BASE_URL, key, max_retries, 0, transport)
            subject = client if job is None else AsyncJob(connection, Seen(job))
            return [await finished(use(subject)) for use in uses]

    async def finished(result: Any) -> Any:
        if isinstance(result, AsyncIterator):
            return shown([entry async for entry in result])
        return shown(await result if inspect.isawaitable(result) else result)

    return asyncio.run(run())


def shown(result: Any) -> Any:
    if isinstance(result, list):
        return [shown(entry) for entry in result]
    return result.data if isinstance(result, Job | AsyncJob) else result


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Uses a Longtake and an AsyncLongtake whose requests are answered by a function."""
    return request.param
