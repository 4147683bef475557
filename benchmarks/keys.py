"""What API keys cost: the check of a key beside all of a GET, and the CPU time of a GET with and without keys.

The check is measured in this process, without a server, as its microseconds would drown in the noise of one. The GETs
go to two API processes in turn, one of which asks for keys; their difference also has what else an answer with keys
needs, such as tokens in links.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send

from api.access.access import Access
from api.access.known_keys import KnownKeys
from benchmarks.figures import Figure
from benchmarks.http import Api, api_client, api_process, post_job, request_of
from benchmarks.load import Load, Sample, measure_load
from core.service.clock import SystemClock
from core.service.domain.api_keys import new_key
from core.service.domain.key_changes import key_of
from core.service.domain.key_schema import KeyRequest
from core.service.settings import Settings
from core.service.testing.api_keys import FakeApiKeys

ADMIN_KEY = SecretStr("the-operators-key-of-this-benchmark")
CHECKS = 20_000
MOST_PERCENT = 5
"""Of a GET that the check of its key may cost."""


def measure(rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """GETs of a job with and without keys in turn, then the check alone."""
    without: list[Sample] = []
    with_key: list[Sample] = []
    with (
        tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder,
        api_process(Path(folder) / "open") as open_api,
        api_process(Path(folder) / "keyed", admin_key=ADMIN_KEY) as keyed_api,
    ):
        loads = _load(open_api, None), _load(keyed_api, made_key(keyed_api))
        for turn in range(rounds):
            say(f"keys, round {turn + 1} of {rounds}")
            without.append(measure_load(loads[0]))
            with_key.append(measure_load(loads[1]))
    checks = [asyncio.run(_check_microseconds()) for _ in range(rounds)]
    return _figures(without, with_key, checks)


def _figures(without: list[Sample], with_key: list[Sample], checks: list[float]) -> list[Figure]:
    """`checks`: microseconds."""
    plain, keyed = [sample.cpu_ms for sample in without], [sample.cpu_ms for sample in with_key]
    percent = [round(100 * check / 1000 / cpu, 2) for check, cpu in zip(checks, plain, strict=True)]
    return [
        Figure("GET /jobs/{id} without keys, CPU of the API", _median(plain), "ms/request", samples=plain),
        Figure("GET /jobs/{id} with a key, CPU of the API", _median(keyed), "ms/request", samples=keyed),
        Figure("check of a key", _median(checks), "us", samples=checks),
        Figure("check of a key, of a GET", _median(percent), "%", MOST_PERCENT, samples=percent),
    ]


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def _load(api: Api, key: str | None) -> Load:
    with api_client(api.port) as http:
        http.headers.update({"Authorization": f"Bearer {key}"} if key else {})
        return Load(api.port, api.pid, request_of("GET", f"/jobs/{post_job(http)}", key=key), 200)


def made_key(api: Api) -> str:
    """The text of a customer's key."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY.get_secret_value()}"}
    with api_client(api.port) as http:
        answer = http.post("/keys", json={"name": "benchmark"}, headers=headers)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return str(answer.json()["key"])


async def _check_microseconds() -> float:
    """What a request spends in Access with a key, beyond what it spends there without keys."""
    new, keys, clock = new_key(), FakeApiKeys(), SystemClock()
    keys.create(key_of(KeyRequest(name="benchmark"), new, clock.now()))
    known, settings = KnownKeys(keys, clock), Settings(admin_key=ADMIN_KEY)
    with_keys = await _seconds(Access(_no_route, known, clock, settings), new.text)
    without = await _seconds(Access(_no_route, known, clock, Settings()), new.text)
    return round(1e6 * (with_keys - without) / CHECKS, 2)


async def _seconds(access: Access, text: str) -> float:
    """Of CPU time, for CHECKS requests."""
    headers = [(b"host", b"127.0.0.1"), (b"accept", b"*/*"), (b"authorization", f"Bearer {text}".encode())]
    started = time.process_time()
    for _ in range(CHECKS):
        await access({"type": "http", "method": "GET", "path": "/jobs/job_a", "headers": headers}, _receive, _send)
    return time.process_time() - started


async def _no_route(scope: Scope, _receive: Receive, _send: Send) -> None:
    """In place of the application."""
    assert scope["state"]["caller"]


async def _receive() -> Message:
    raise AssertionError("nothing reads a body")


async def _send(message: Message) -> None:
    raise AssertionError(f"the key was refused: {message}")
