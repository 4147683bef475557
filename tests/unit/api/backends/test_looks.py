"""Reads for many requests at once: one call at a time, nothing older than the question, errors to all who asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from api.backends.looks import Looks, Together
from core.service.domain.errors import JobNotFound, StoreUnavailable
from core.service.testing.job_store import FakeJobStore
from tests.helpers.deadline import one_turn
from tests.helpers.jobs import queued_job


class Source:
    """A slow store of one number that is the same for every key: how many times it was read."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.may_answer = threading.Event()
        self.error: Exception | None = None

    def read(self, keys: Sequence[str]) -> Sequence[int]:
        self.calls.append([*keys])
        number = len(self.calls)
        assert self.may_answer.wait(60)
        if self.error is not None:
            raise self.error
        return [number for _ in keys]


@pytest.fixture
def source() -> Source:
    return Source()


async def reading(source: Source, calls: int) -> None:
    """Until `source` was called so often."""
    while len(source.calls) < calls:
        await one_turn()


def test_all_that_ask_while_a_call_lasts_share_the_next(source: Source) -> None:
    async def ask() -> list[int]:
        together = Together(source.read)
        first = asyncio.create_task(together.get("a"))
        await reading(source, 1)
        others = [asyncio.create_task(together.get(key)) for key in ("a", "b", "a", "c")]
        await one_turn()
        source.may_answer.set()
        return [await task for task in (first, *others)]

    assert asyncio.run(ask()) == [1, 2, 2, 2, 2]
    assert source.calls == [["a"], ["a", "b", "c"]]


def test_a_client_that_leaves_takes_the_answer_from_nobody(source: Source) -> None:
    async def ask() -> list[int]:
        together = Together(source.read)
        left, stayed = (asyncio.create_task(together.get("a")) for _ in range(2))
        await reading(source, 1)
        left.cancel()
        await one_turn()
        source.may_answer.set()
        return [await stayed, await together.get("a")]

    assert asyncio.run(ask()) == [1, 2]


def test_an_outage_is_told_to_all_who_asked_and_forgotten(source: Source) -> None:
    async def ask() -> tuple[list[object], int]:
        together = Together(source.read)
        source.error = StoreUnavailable("Redis does not answer")
        source.may_answer.set()
        failed: list[object] = [*await asyncio.gather(*(together.get(key) for key in "ab"), return_exceptions=True)]
        source.error = None
        return failed, await together.get("a")

    failed, later = asyncio.run(ask())
    assert [type(error) for error in failed] == [StoreUnavailable] * 2
    assert later == 2


def test_a_job_that_is_not_there_is_looked_at_alone() -> None:
    store = FakeJobStore()
    job = store.create(queued_job())

    async def ask() -> list[object]:
        looks = Looks(store)
        asked = (looks.look(job.id), looks.look("job_nowhere"), looks.mark(job.id), looks.mark("job_nowhere"))
        return [*await asyncio.gather(*asked, return_exceptions=True)]

    seen, refusal, mark, no_mark = asyncio.run(ask())
    assert (seen, mark, no_mark) == (store.look(job.id), store.look(job.id).mark, None)
    assert isinstance(refusal, JobNotFound)
