"""Thousands of listeners are woken in slices: jobs in turn, events before progress, other requests in between."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from api.events.fan_out import SLICE, FanOut
from tests.helpers.deadline import eventually_on_the_loop, one_turn


class Wakeable:
    """Notes its name when woken."""

    def __init__(self, name: str, woken: list[str]) -> None:
        self.name = name
        self._woken = woken

    def wake(self) -> None:
        self._woken.append(self.name)


def sleepers(name: str, count: int, woken: list[str]) -> list[Wakeable]:
    return [Wakeable(f"{name}{number}", woken) for number in range(count)]


async def all_of(woken: Sequence[str], count: int) -> None:
    await eventually_on_the_loop(lambda: len(woken) >= count, "all to be woken")


def test_a_job_with_one_listener_waits_for_no_other_jobs_thousands() -> None:
    woken = list[str]()

    async def run() -> None:
        fan_out = FanOut(asyncio.get_running_loop())
        fan_out.events("crowded", sleepers("crowd", 2000, woken))
        fan_out.events("quiet", sleepers("quiet", 1, woken))
        await all_of(woken, 2001)

    asyncio.run(run())
    assert woken.index("quiet0") <= 1
    assert len(set(woken)) == 2001


def test_events_come_before_progress() -> None:
    woken = list[str]()

    async def run() -> None:
        fan_out = FanOut(asyncio.get_running_loop())
        fan_out.progress("job", sleepers("progress", 100, woken))
        fan_out.events("job", sleepers("event", 100, woken))
        await all_of(woken, 200)

    asyncio.run(run())
    assert all(name.startswith("event") for name in woken[:100])


def test_others_are_served_between_two_slices() -> None:
    woken, seen = list[str](), list[int]()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        FanOut(loop).events("job", sleepers("crowd", 10 * SLICE, woken))
        while len(woken) < 10 * SLICE:
            seen.append(len(woken))
            await one_turn()

    asyncio.run(run())
    assert all(after - before <= SLICE for before, after in pairwise(seen))


def test_who_waits_to_be_woken_is_woken_once_for_several_reports() -> None:
    woken = list[str]()

    async def run() -> None:
        fan_out = FanOut(asyncio.get_running_loop())
        crowd = sleepers("crowd", 100, woken)
        for _ in range(5):
            fan_out.progress("job", crowd)
        fan_out.events("other", sleepers("last", 1, woken))
        await all_of(woken, 101)

    asyncio.run(run())
    assert len(woken) == len(set(woken)) == 101


def test_a_job_without_listeners_wakes_no_reader() -> None:
    async def run() -> None:
        fan_out = FanOut(asyncio.get_running_loop())
        fan_out.events("job", [])
        await one_turn()

    asyncio.run(run())
