"""Reads what clients see of jobs, for all requests that arrive meanwhile in one round trip.

A busy process answers hundreds of polls a second. A thread and a round trip for each would cost more than all the rest
of the answer, so one thread at a time reads for all. Nobody gets a result that was read before they asked.
"""

from __future__ import annotations

from asyncio import Future, Task, create_task, get_running_loop, shield
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Annotated, Generic, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from core.service.domain.ports import JobStore, Look

T = TypeVar("T")


class Together(Generic[T]):
    """Reads values by key; `read` blocks, and is called with all keys that were asked for since its last call."""

    def __init__(self, read: Callable[[Sequence[str]], Sequence[T]]) -> None:
        self._read = read
        self._limiter = CapacityLimiter(1)  # its own: requests that wait for others keep no poll waiting
        self._asked: dict[str, Future[T]] = {}
        self._reading: Task[None] | None = None

    async def get(self, key: str) -> T:
        """The value, read after this call. Raises what `read` raises."""
        if key not in self._asked:
            self._asked[key] = get_running_loop().create_future()
        future = self._asked[key]
        if self._reading is None:
            self._reading = create_task(self._read_all(), context=Context())  # of no single request
        return await shield(future)  # a client that leaves must not cancel it for others

    async def _read_all(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._answer(asked)
        finally:
            self._reading = None

    async def _answer(self, asked: dict[str, Future[T]]) -> None:
        try:
            found = await to_thread.run_sync(self._read, [*asked], limiter=self._limiter)
        except Exception as error:  # raised again by each that asked
            for future in asked.values():
                future.set_exception(error)
                future.exception()  # nobody waits for it if all have left
            return
        for future, value in zip(asked.values(), found, strict=True):
            future.set_result(value)


class Looks:
    """ports.JobStore's `look` and `mark`, for coroutines. They read many jobs at once."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._looks = Together(store.looks)
        self._marks = Together(store.marks)

    async def look(self, job_id: str) -> Look:
        """Raises JobNotFound, StoreError."""
        return await self._looks.get(job_id) or await to_thread.run_sync(self._store.look, job_id)

    async def mark(self, job_id: str) -> str | None:
        """`(await look(job_id)).mark`, None if that cannot be told. Raises StoreError."""
        return await self._marks.get(job_id)


async def _looks(request: Request) -> Looks:
    return cast(Looks, request.app.state.looks)


LooksDep = Annotated[Looks, Depends(_looks)]
