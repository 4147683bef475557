"""Many listeners of many jobs behind one reader: each gets every event once, although others are slow or broken."""

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

import anyio
from anyio import to_thread
from fastapi.testclient import TestClient

from api.events.sse import Streams, event_stream_limit, follow_job
from api.events.text import ChunkLinks, Permit
from core.service.domain.errors import StoreDamaged, StoreUnavailable
from core.service.domain.ports import JobUpdates, LogPosition
from core.service.testing.event_log import FakeEventLog
from tests.helpers.api_world import BASE_URL, QUICK, World, submit
from tests.helpers.deadline import eventually_on_the_loop, one_turn

PATIENCE_SECONDS = 30
PERMIT = Permit(ChunkLinks(BASE_URL))


class WatchedLog(FakeEventLog):
    """Notes who follows how many jobs; fails while `away`; one job's keys may be `damaged`."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store)
        self.threads = set[str]()
        self.followed = set[frozenset[str]]()
        self.away = threading.Event()
        self.damaged = ""
        self.looks = 0
        """How often jobs that are silent were looked up."""

    def stopped(self, job_ids: Collection[str]) -> Sequence[str]:
        self.looks += 1
        return super().stopped(job_ids)

    def newest(self, job_ids: Collection[str]) -> Mapping[str, LogPosition]:
        self._fail(job_ids)
        return super().newest(job_ids)

    def follow(self, positions: Mapping[str, LogPosition], timeout_seconds: float) -> Sequence[JobUpdates]:
        self._fail(positions)
        self.threads.add(threading.current_thread().name)
        self.followed.add(frozenset(positions))
        return super().follow(positions, timeout_seconds)

    def _fail(self, job_ids: Collection[str]) -> None:
        if self.away.is_set():
            raise StoreUnavailable
        if self.damaged in job_ids:
            raise StoreDamaged


def streams_on(world: World, log: FakeEventLog) -> Streams:
    return Streams(replace(world.ports(), events=log), event_stream_limit(1000, 1000), QUICK)


def ids_in(text: str) -> list[str]:
    return re.findall(r"^id: (\S+)$", text, flags=re.MULTILINE)


async def listened(streams: Streams, job_id: str, after: str = "0-0", at_first: Callable[[], object] = int) -> str:
    """The stream's text to its end; `at_first` is called with the first event."""
    text = ""
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(follow_job(streams, job_id, after, PERMIT)) as parts:
        async for part in parts:
            if "id: " in part and not ids_in(text):
                at_first()
            text += part
    return text


def test_every_listener_gets_every_event_once_whenever_it_came(api: TestClient, world: World) -> None:
    """Listeners come all the time while the job's events do: some find most in the log, some live."""
    job_id = submit(api, num_frames=16 * 30)
    log = WatchedLog(world)

    async def run() -> list[str]:
        streams = streams_on(world, log)
        working = asyncio.create_task(to_thread.run_sync(world.finish, job_id))
        listening = list[asyncio.Task[str]]()
        while not working.done() or len(listening) < 50:
            listening.append(asyncio.create_task(listened(streams, job_id)))
            await one_turn(0.001)
        await working
        return list(await asyncio.gather(*listening))

    texts = anyio.run(run)
    whole = [event.id for event in log.read(job_id)]
    assert len(whole) == 33
    assert all(ids_in(text) == whole for text in texts)


def test_listeners_of_many_jobs_share_one_reader(api: TestClient, world: World) -> None:
    job_ids = [submit(api, num_frames=16) for _ in range(40)]
    log = WatchedLog(world)

    async def run() -> list[str]:
        streams, heard = streams_on(world, log), list[str]()
        listening = [
            asyncio.create_task(listened(streams, job_id, at_first=lambda: heard.append(""))) for job_id in job_ids * 3
        ]
        await eventually_on_the_loop(
            lambda: len(heard) == len(listening) and frozenset(job_ids) in log.followed, "all to be followed together"
        )
        for job_id in job_ids:
            world.store.request_cancel(job_id)
        return list(await asyncio.gather(*listening))

    assert all(ids_in(text) == ["1-0", "2-0"] for text in anyio.run(run))
    assert log.threads == {"log-reader"}


def test_a_listener_that_resumes_gets_what_it_has_not_had(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16 * 3)
    world.start(job_id)
    world.make_chunk(job_id)
    log = WatchedLog(world)

    async def run() -> str:
        return await listened(streams_on(world, log), job_id, "2-0", at_first=lambda: world.finish(job_id))

    assert ids_in(anyio.run(run)) == ["3-0", "4-0", "5-0", "6-0"]


def test_a_listener_that_comes_back_while_a_job_is_measured_waits_for_its_event(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16, measure=True)
    world.finish(job_id)
    log = WatchedLog(world)
    last = log.read(job_id)[-1].id

    async def run() -> tuple[str, bool]:
        streams = streams_on(world, log)
        over = await streams.has_nothing_after(job_id, last)
        listening = asyncio.create_task(listened(streams, job_id, last))
        await eventually_on_the_loop(lambda: frozenset({job_id}) in log.followed, "the job to be followed")
        await eventually_on_the_loop(lambda: log.looks > 2, "the silent job to be looked up")
        assert not listening.done()
        world.measure(job_id)
        return await listening, over

    text, over = anyio.run(run)
    assert not over
    assert [line for line in text.splitlines() if line.startswith("event: ")] == ["event: job.measured"]
    assert anyio.run(streams_on(world, log).has_nothing_after, job_id, ids_in(text)[0])


def test_a_slow_listener_delays_no_other_and_misses_no_event(api: TestClient, world: World) -> None:
    """It takes nothing until the job has ended; by then what was said live is kept no more."""
    job_id = submit(api, num_frames=16 * 20)
    log = WatchedLog(world)

    async def run() -> tuple[str, str]:
        streams = streams_on(world, log)
        slow = follow_job(streams, job_id, "0-0", PERMIT)
        early = await anext(slow) + await anext(slow)
        quick = await listened(streams, job_id, at_first=lambda: world.finish(job_id))
        return quick, early + await rest_of(slow)

    async def rest_of(parts: AsyncGenerator[str]) -> str:
        return "".join([part async for part in parts])

    quick, slow = anyio.run(run)
    assert ids_in(quick) == ids_in(slow) == [event.id for event in log.read(job_id)]


def test_a_job_with_unreadable_keys_ends_no_other_jobs_streams(api: TestClient, world: World) -> None:
    broken, well = submit(api), submit(api, num_frames=16)
    log = WatchedLog(world)

    async def run() -> str:
        streams = streams_on(world, log)
        log.damaged = broken
        beside = asyncio.create_task(listened(streams, broken))
        text = await listened(streams, well, at_first=lambda: world.finish(well))
        beside.cancel()
        return text

    assert ids_in(anyio.run(run))[-1] == "4-0"


def test_streams_continue_when_redis_is_back(api: TestClient, world: World) -> None:
    job_id = submit(api, num_frames=16)
    log = WatchedLog(world)

    def outage() -> None:
        log.away.set()
        world.finish(job_id)
        threading.Timer(0.1, log.away.clear).start()

    async def run() -> str:
        return await listened(streams_on(world, log), job_id, at_first=outage)

    assert ids_in(anyio.run(run)) == ["1-0", "2-0", "3-0", "4-0"]


def test_a_client_that_leaves_ends_its_stream_and_frees_everything(api: TestClient, world: World) -> None:
    job_id, log = submit(api), WatchedLog(world)

    async def run() -> bool:
        streams = streams_on(world, log)
        left = asyncio.get_running_loop().create_future()
        parts = [part async for part in leaving(streams, left)]
        assert ids_in("".join(parts)) == ["1-0"]
        return not streams.hub().channels

    async def leaving(streams: Streams, left: asyncio.Future[None]) -> AsyncGenerator[str]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for part in follow_job(streams, job_id, "0-0", PERMIT, left):
                yield part
                if "id: " in part:
                    asyncio.get_running_loop().call_later(0.05, left.set_result, None)

    assert anyio.run(run)
