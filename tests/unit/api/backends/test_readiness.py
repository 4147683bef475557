"""Probes never pile up, never take long, and their answers are shared."""

from __future__ import annotations

import asyncio
import threading

from api.access.access import VISITOR_SECONDS
from api.backends.readiness import KEPT_SECONDS, WAIT_SECONDS, Probe, ProbeResult
from core.service.domain.errors import StoreFull, StoreUnavailable


class Server:
    """A server that hangs until the test lets it answer."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self.answers = threading.Event()
        self._error = error

    def __call__(self) -> int:
        self.asked += 1
        self.answers.wait(300)
        if self._error is not None:
            raise self._error
        return self.asked


def test_readiness_takes_less_than_two_seconds() -> None:
    """Who asks is looked up before."""
    assert VISITOR_SECONDS + WAIT_SECONDS < 2


def test_a_server_that_hangs_is_asked_once_however_many_look() -> None:
    server = Server()
    probe = Probe(server, wait_seconds=0.1)

    async def look() -> list[ProbeResult[int]]:
        return [answer for _ in range(3) for answer in await asyncio.gather(*(probe.result() for _ in range(50)))]

    answers = asyncio.run(look())
    assert {answer.reason for answer in answers} == {"does not answer within 0.1 s"}
    assert server.asked == 1
    server.answers.set()


def test_a_client_that_leaves_does_not_take_the_answer_from_the_others() -> None:
    server = Server()
    probe = Probe(server, wait_seconds=10)

    async def look() -> ProbeResult[int]:
        leaving, staying = asyncio.create_task(probe.result()), asyncio.create_task(probe.result())
        await asyncio.wait({leaving}, timeout=0)
        leaving.cancel()
        server.answers.set()
        return await staying

    assert asyncio.run(look()) == ProbeResult(1, None)


def test_an_answer_is_kept_for_a_moment_and_then_asked_for_again() -> None:
    server, now = Server(), [0.0]
    server.answers.set()
    probe = Probe(server, monotonic=lambda: now[0])
    assert [asyncio.run(probe.result()).value for _ in range(3)] == [1, 1, 1]
    now[0] += KEPT_SECONDS + 0.1
    assert asyncio.run(probe.result()).value == 2


def test_the_reason_is_the_error_by_its_name_and_a_bug_is_a_reason_too() -> None:
    cases = ((StoreFull("Redis is full"), "full"), (StoreUnavailable(), "answer"), (KeyError("x"), "KeyError"))
    for error, words in cases:
        server = Server(error)
        server.answers.set()
        answer = asyncio.run(Probe(server).result())
        assert answer.value is None
        assert words in str(answer.reason)
