"""Each page of a log is read once for all its readers, cached briefly, and bounded in size."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from anyio import CapacityLimiter
from fastapi.testclient import TestClient

from api.events.pages import KEPT_CHARACTERS, KEPT_SECONDS, PageCache
from api.events.text import Page
from core.service.domain.errors import StoreUnavailable
from core.service.domain.schema import JobEvent
from core.service.testing.event_log import FakeEventLog
from tests.helpers.api_world import World, submit
from tests.helpers.deadline import one_turn


class CountedLog(FakeEventLog):
    """Counts reads; each waits until it may go on, and fails while `away`."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store)
        self.num_reads = 0
        self.away = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def read(self, job_id: str, after: str = "0-0", limit: int = 1000) -> Sequence[JobEvent]:
        self.num_reads += 1
        self.may_go_on.wait(30)
        if self.away:
            raise StoreUnavailable
        return super().read(job_id, after, limit)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def pages_of(world: World, log: FakeEventLog, time: Time | None = None) -> PageCache:
    return PageCache(replace(world.ports(), events=log), CapacityLimiter(4), time or Time())


def test_many_who_ask_at_once_cost_one_read(api: TestClient, world: World) -> None:
    job_id, log = submit(api), CountedLog(world)

    async def ask() -> list[Page | None]:
        pages = pages_of(world, log)
        log.may_go_on.clear()
        asking = [asyncio.create_task(pages.after(job_id, "0-0")) for _ in range(100)]
        await one_turn()
        log.may_go_on.set()
        return list(await asyncio.gather(*asking))

    found = asyncio.run(ask())
    assert log.num_reads == 1
    assert {page.last for page in found if page} == {"1-0"}
    assert None not in found


def test_a_page_is_cached_briefly(api: TestClient, world: World) -> None:
    job_id, log, time = submit(api), CountedLog(world), Time()

    async def ask() -> list[int]:
        pages, reads = pages_of(world, log, time), list[int]()
        for later in (0, KEPT_SECONDS, 1):
            time.now += later
            await pages.after(job_id, "0-0")
            reads.append(log.num_reads)
        return reads

    assert asyncio.run(ask()) == [1, 1, 2]


def test_where_nothing_follows_yet_is_asked_again(api: TestClient, world: World) -> None:
    job_id, log = submit(api), CountedLog(world)

    async def ask() -> list[Page | None]:
        pages = pages_of(world, log)
        before = await pages.after(job_id, "1-0")
        world.start(job_id)
        return [before, await pages.after(job_id, "1-0")]

    before, after = asyncio.run(ask())
    assert before is None
    assert after is not None
    assert after.last == "2-0"


def test_a_read_that_fails_fails_for_all_who_asked_and_is_tried_again(api: TestClient, world: World) -> None:
    job_id, log = submit(api), CountedLog(world)

    async def ask() -> Page | None:
        pages = pages_of(world, log)
        log.away = True
        failed = await asyncio.gather(*(pages.after(job_id, "0-0") for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in failed] == [StoreUnavailable] * 3
        log.away = False
        return await pages.after(job_id, "0-0")

    assert asyncio.run(ask()) is not None


def test_a_client_that_leaves_does_not_cancel_the_shared_read(api: TestClient, world: World) -> None:
    job_id, log = submit(api), CountedLog(world)

    async def ask() -> Page | None:
        pages = pages_of(world, log)
        log.may_go_on.clear()
        leaving, staying = (asyncio.create_task(pages.after(job_id, "0-0")) for _ in range(2))
        await one_turn()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        log.may_go_on.set()
        return await staying

    assert asyncio.run(ask()) is not None


def test_pages_that_are_kept_have_a_bound(world: World) -> None:
    log = CountedLog(world)

    async def fill() -> int:
        pages = pages_of(world, log)
        text = "x" * (KEPT_CHARACTERS // 10)
        for number in range(50):
            pages.put(f"job_{number}", "0-0", Page(text, "1-0"))
        kept = 0
        for number in range(50):
            kept += await pages.after(f"job_{number}", "0-0") is not None
        return kept

    assert asyncio.run(fill()) == 10
