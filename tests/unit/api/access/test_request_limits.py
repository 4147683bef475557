"""Requests per minute: what a window allows, what the headers tell, how many processes share it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from api.access.request_limits import RequestLimitReached, RequestLimits
from core.service.domain.errors import StoreUnavailable
from core.service.testing.clock import FakeClock
from core.service.testing.usage import FakeRequestCounts

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class NoCounts(FakeRequestCounts):
    """Redis is down."""

    def take(self, key_id: str, window: int, portion: int) -> int:
        super().take(key_id, window, portion)
        raise StoreUnavailable


@pytest.fixture
def counts() -> FakeRequestCounts:
    return FakeRequestCounts()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def limits(counts: FakeRequestCounts, clock: FakeClock) -> RequestLimits:
    return RequestLimits(counts, clock)


def asked(
    limits: RequestLimits, most: int, times: int = 1, *, key_id: str = "key_a"
) -> list[dict[str, str] | RequestLimitReached]:
    """The headers, or the refusal, of so many requests at once."""

    async def one() -> dict[str, str] | RequestLimitReached:
        try:
            return await limits.count(key_id, most)
        except RequestLimitReached as reached:
            return reached

    async def all_of_them() -> list[dict[str, str] | RequestLimitReached]:
        return await asyncio.gather(*(one() for _ in range(times)))

    return asyncio.run(all_of_them())


def num_allowed(answers: list[dict[str, str] | RequestLimitReached]) -> int:
    return sum(isinstance(answer, dict) for answer in answers)


def test_the_headers_tell_what_is_left_and_for_how_long(limits: RequestLimits, clock: FakeClock) -> None:
    clock.advance(12.4)
    assert asked(limits, 3) == [{"RateLimit-Policy": '"requests";q=3;w=60', "RateLimit": '"requests";r=2;t=48'}]


def test_beyond_the_limit_requests_are_refused_until_the_window_ends(limits: RequestLimits, clock: FakeClock) -> None:
    clock.advance(50)
    answers = asked(limits, 3, 5)
    assert num_allowed(answers) == 3
    refused = answers[-1]
    assert isinstance(refused, RequestLimitReached)
    assert refused.retry_seconds == 10
    assert refused.headers["RateLimit"] == '"requests";r=0;t=10'
    clock.advance(10)
    assert num_allowed(asked(limits, 3, 5)) == 3


def test_each_key_has_its_own_limit(limits: RequestLimits) -> None:
    assert num_allowed(asked(limits, 3, 5)) == 3
    assert num_allowed(asked(limits, 3, 5, key_id="key_b")) == 3


def test_a_limit_that_is_raised_holds_at_once(limits: RequestLimits) -> None:
    assert num_allowed(asked(limits, 3, 5)) == 3
    assert num_allowed(asked(limits, 8, 10)) >= 3
    assert num_allowed(asked(limits, 8, 10)) == 0


def test_a_busy_key_costs_a_read_for_every_second_of_its_limit(
    limits: RequestLimits, counts: FakeRequestCounts
) -> None:
    assert num_allowed(asked(limits, 6000, 1000)) == 1000
    assert counts.num_reads == 10


def test_a_key_that_is_refused_costs_no_more_reads(limits: RequestLimits, counts: FakeRequestCounts) -> None:
    asked(limits, 5, 6)
    reads = counts.num_reads
    assert num_allowed(asked(limits, 5, 1000)) == 0
    assert counts.num_reads == reads


@pytest.mark.parametrize("most", [1, 59, 60, 61, 600, 6001])
def test_processes_share_a_limit_and_each_wastes_a_portion_at_most(
    counts: FakeRequestCounts, clock: FakeClock, most: int
) -> None:
    processes = [RequestLimits(counts, clock) for _ in range(3)]
    for process in processes[1:]:
        asked(process, most)
    in_all = min(2, most) + num_allowed(asked(processes[0], most, most))
    assert most - 2 * max(1, most // 60) <= in_all <= most
    assert sum(num_allowed(asked(process, most, most)) for process in processes) == most - in_all


def test_while_redis_is_away_each_process_counts_for_itself(clock: FakeClock) -> None:
    assert num_allowed(asked(RequestLimits(NoCounts(), clock), 100, 150)) == 100
