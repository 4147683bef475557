"""Equal requests over many connections, as many as are answered or so many a second: how late each answer is, and what
it costs the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import psutil

CONNECTIONS = 32
SECONDS = 4.0


@dataclass(frozen=True)
class Load:
    """`request`, in which HOST stands for the server, sent again and again to the process `pid` on `port`; each answer
    has `status`."""

    port: int
    pid: int
    request: bytes
    status: int


@dataclass(frozen=True)
class Sample:
    """Requests per second, 99th percentile of their milliseconds, and milliseconds of the server's CPU for each."""

    per_second: float
    p99_ms: float
    cpu_ms: float


def measure_load(load: Load, seconds: float = SECONDS) -> Sample:
    """All connections for `seconds`."""
    cpu_before, started = _cpu_seconds(load.pid), time.perf_counter()
    taken = sorted(asyncio.run(_all_connections(load, started + seconds)))
    passed, cpu = time.perf_counter() - started, _cpu_seconds(load.pid) - cpu_before
    p99 = taken[int(0.99 * (len(taken) - 1))]
    return Sample(round(len(taken) / passed, 1), round(1000 * p99, 1), round(1000 * cpu / len(taken), 3))


def measure_paced(load: Load, per_second: float, seconds: float) -> list[float]:
    """Milliseconds of each of the requests that are begun at this rate, from when it should have begun: an answer that
    is late delays none of the others until all connections wait."""
    first = time.perf_counter()
    begins = [first + number / per_second for number in range(round(per_second * seconds))]
    return [round(1000 * taken, 2) for taken in asyncio.run(_at_times(load, begins))]


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def _all_connections(load: Load, ends_at: float) -> list[float]:
    """Seconds that each request took."""
    of_each = await asyncio.gather(*(_one_connection(load, ends_at) for _ in range(CONNECTIONS)))
    return [seconds for one in of_each for seconds in one]


async def _one_connection(load: Load, ends_at: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", load.port)
    taken = list[float]()
    with closing(writer):
        while time.perf_counter() < ends_at:
            started = time.perf_counter()
            await _ask(load, reader, writer)
            taken.append(time.perf_counter() - started)
    return taken


async def _at_times(load: Load, begins: Sequence[float]) -> list[float]:
    """Seconds of each request, from its time in `begins`."""
    of_each = await asyncio.gather(*(_some_of(load, begins[first::CONNECTIONS]) for first in range(CONNECTIONS)))
    return [seconds for one in of_each for seconds in one]


async def _some_of(load: Load, begins: Sequence[float]) -> list[float]:
    """The requests of one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", load.port)
    taken = list[float]()
    with closing(writer):
        for begin in begins:
            await asyncio.sleep(max(0.0, begin - time.perf_counter()))
            await _ask(load, reader, writer)
            taken.append(time.perf_counter() - begin)
    return taken


async def _ask(load: Load, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request and its whole answer."""
    writer.write(load.request.replace(b"HOST", f"127.0.0.1:{load.port}".encode()))
    head = await reader.readuntil(b"\r\n\r\n")
    assert int(head.split(b" ", 2)[1]) == load.status, head.decode()
    fields = head.lower().split(b"\r\n")
    length = next((field for field in fields if field.startswith(b"content-length:")), b":0")
    await reader.readexactly(int(length.split(b":")[1]))
