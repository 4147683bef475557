"""Requests per second that one API process answers: submitting, reading, polling and listing jobs, short and long ones.

Against another checkout (`--against FOLDER`, such as a worktree of the previous commit) both are measured alternately
on the same kind of servers, so that only their ratio counts. No worker runs: only the API is measured. The load comes
from this process, over several connections, and shares the machine's cores with the API.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from benchmarks.figures import Figure
from benchmarks.machine import REPOSITORY
from cli.processes.child import Child, stop_all
from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from cli.processes.machine import free_port
from cli.processes.stack import settings_environment
from core.service.clock import SystemClock
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.manifest import chunk_key
from core.service.domain.schema import ChunkRecord, Lane
from core.service.redis.client import connect
from core.service.redis.job_store import RedisJobStore
from core.service.settings import Settings

CONNECTIONS = 16
LONG_CHUNKS = 600
SECONDS = 4.0
START_SECONDS = 60.0
BODY = json.dumps({"prompt": "a red circle moving left", "num_frames": 48, "seed": 1}).encode()


@dataclass(frozen=True)
class Kind:
    """One kind of request. `{job}` in the path is the short job or, with `long`, the one of LONG_CHUNKS chunks; with
    status 304 it is sent with the ETag of the last answer."""

    name: str
    path: str
    status: int = 200
    method: str = "GET"
    body: bytes = b""
    long: bool = False


KINDS = (
    Kind("POST /jobs", "/jobs", 202, "POST", BODY),
    Kind("GET /jobs/{id}", "/jobs/{job}"),
    Kind("GET /jobs/{id}, 304", "/jobs/{job}", 304),
    Kind("GET /jobs, 20 of them", "/jobs"),
    Kind("GET /jobs/{id}, 600 chunks", "/jobs/{job}", long=True),
    Kind("GET /jobs/{id}, 600 chunks, 304", "/jobs/{job}", 304, long=True),
    Kind("GET playlist, 600 chunks", "/jobs/{job}/playlist.m3u8", long=True),
    Kind("GET playlist, 600 chunks, 304", "/jobs/{job}/playlist.m3u8", 304, long=True),
    Kind("GET 100 of 600 chunks", "/jobs/{job}/chunks?after=299", long=True),
    Kind("GET the last of 600 chunks", "/jobs/{job}/chunks?after=598", long=True),
)


def measure(rounds: int, against: Path | None, say: Callable[[str], None]) -> list[Figure]:
    """Each kind `rounds` times on this checkout and, in turn, on the other one."""
    trees = [REPOSITORY, *([against.resolve()] if against else [])]
    rates: dict[tuple[Path, str], list[float]] = {(tree, kind.name): [] for tree in trees for kind in KINDS}
    slowest: dict[tuple[Path, str], list[float]] = {key: [] for key in rates}
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        for turn in range(rounds):
            for tree in trees:
                say(f"round {turn + 1} of {rounds}: {tree.name}")
                for kind, (rate, p99) in _one_round(tree, Path(folder) / f"{turn}-{tree.name}").items():
                    rates[tree, kind].append(round(rate, 1))
                    slowest[tree, kind].append(round(1000 * p99, 1))
    return [figure for kind in KINDS for figure in _figures(kind.name, trees, rates, slowest)]


def _figures(
    kind: str,
    trees: Sequence[Path],
    rates: dict[tuple[Path, str], list[float]],
    slowest: dict[tuple[Path, str], list[float]],
) -> list[Figure]:
    own, other = rates[trees[0], kind], rates[trees[-1], kind]
    shown = [
        Figure(kind, statistics.median(own), "requests/s", better="higher", samples=own),
        Figure(f"{kind}, p99", statistics.median(slowest[trees[0], kind]), "ms", samples=slowest[trees[0], kind]),
    ]
    if len(trees) > 1:
        ratio = statistics.median(own) / statistics.median(other)
        note = f"{trees[-1].name}: {statistics.median(other):g} requests/s, samples {other}"
        shown.append(Figure(f"{kind}, times as fast", round(ratio, 2), "x", better="higher", note=note))
    return shown


@dataclass(frozen=True)
class Api:
    """One API process on servers of its own, without workers."""

    child: Child
    port: int
    redis_url: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.child.pid


@contextmanager
def api_process(folder: Path, tree: Path = REPOSITORY) -> Generator[Api]:
    """An API of the checkout `tree` that answers; stopped at the end."""
    with EmbeddedRedis(folder / "redis") as redis_server, EmbeddedS3(folder / "s3") as s3_server:
        port = free_port()
        serve = ["--factory", "api.app:create_app", "--port", str(port), "--no-access-log"]
        environment = {**os.environ, **environment_of(settings_of(redis_server, s3_server)), "PYTHONPATH": str(tree)}
        command = [sys.executable, "-c", _RUN_IN_CHECKOUT.format(tree=str(tree)), *serve]
        child = Child("the API", command, environment, folder / "api.log")
        try:
            wait_for_answer(port, child)
            yield Api(child, port, redis_server.url(0))
        finally:
            stop_all([child], 10)


def wait_for_answer(port: int, child: Child) -> None:
    """Wait until the API `child` answers; it must within START_SECONDS."""
    with api_client(port) as http:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(http):
            child.check()
            assert time.monotonic() < deadline, "the API does not start"
            time.sleep(0.1)


def _one_round(tree: Path, folder: Path) -> dict[str, tuple[float, float]]:
    """Rate and p99 in seconds of each kind, on fresh servers."""
    with api_process(folder, tree) as api:
        with api_client(api.port) as http:
            short_job, long_job = _first_jobs(http, api.redis_url)
            requests = {kind: _request_of(kind, http, long_job if kind.long else short_job) for kind in KINDS}
        return {kind.name: asyncio.run(_load(api.port, kind, request)) for kind, request in requests.items()}


_RUN_IN_CHECKOUT = "import os, sys; os.chdir({tree!r}); sys.argv[0] = 'uvicorn'; import uvicorn; uvicorn.main()"
"""Runs the uvicorn command in a checkout of its own: an installed package would otherwise come first."""


def settings_of(redis_server: EmbeddedRedis, s3_server: EmbeddedS3, media: str = "redirect") -> Settings:
    """Settings of an API on these servers, without limits that a measurement could reach."""
    return Settings(
        redis_url=redis_server.url(0),
        broker_url=redis_server.url(1),
        s3_endpoint_url=s3_server.endpoint_url,
        s3_access_key_id=s3_server.access_key_id,
        s3_secret_access_key=SecretStr(s3_server.secret_access_key),
        max_queued_jobs=1_000_000,
        max_frames=100_000,
        media=media,
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that gives a process these settings, with the presets of its own checkout."""
    chosen = settings_environment(settings)
    return {name: value for name, value in chosen.items() if name != "LONGTAKE_PRESETS_DIR"}


def api_client(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)


def _first_jobs(http: httpx.Client, redis_url: str) -> tuple[str, str]:
    """Ids of a queued job and of a running one with LONG_CHUNKS chunks. Twenty jobs wait, so that lists are full."""
    long_job = post_job(http, num_frames=CHUNK_FRAMES * LONG_CHUNKS + 1)
    with connect(redis_url) as client:
        make_chunks(RedisJobStore(client, SystemClock(), retention_seconds=3600), long_job, LONG_CHUNKS)
    return [post_job(http) for _ in range(20)][-1], long_job


def post_job(http: httpx.Client, **fields: object) -> str:
    """The id of a new job."""
    answer = http.post("/jobs", json={**json.loads(BODY), **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def make_chunks(store: RedisJobStore, job_id: str, count: int) -> None:
    """Commit a job's first `count` chunks as a worker does, without objects."""
    for index in range(count):
        lease = store.claim(job_id, Lane.GENERATE, "benchmark", 60)
        assert lease
        timings: dict[str, float] = dict.fromkeys(("queue", "denoise", "decode", "encode", "upload", "commit"), 0.1234)
        chunk = ChunkRecord(
            index=index,
            first_frame=CHUNK_FRAMES * index,
            num_frames=CHUNK_FRAMES,
            key=chunk_key(job_id, index),
            head_bytes=782,
            size_bytes=6000,
            sha256="0" * 64,
            created_at=SystemClock().now(),
            timings=timings,
        )
        store.commit_chunk(lease, chunk, "benchmark")


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False


def _request_of(kind: Kind, http: httpx.Client, job_id: str) -> bytes:
    path = kind.path.format(job=job_id)
    etag = http.get(path).headers["etag"] if kind.status == httpx.codes.NOT_MODIFIED.value else None
    return _request(kind.method, path, kind.body, etag)


async def _load(port: int, kind: Kind, request: bytes) -> tuple[float, float]:
    """Requests per second over all connections, and the 99th percentile of their seconds."""
    request = request.replace(b"HOST", f"127.0.0.1:{port}".encode())
    ends_at = time.perf_counter() + SECONDS
    started = time.perf_counter()
    of_each = await asyncio.gather(*(_one_connection(port, request, kind.status, ends_at) for _ in range(CONNECTIONS)))
    taken = sorted(seconds for one in of_each for seconds in one)
    return len(taken) / (time.perf_counter() - started), taken[int(0.99 * (len(taken) - 1))]


async def _one_connection(port: int, request: bytes, status: int, ends_at: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = list[float]()
    with closing(writer):
        while time.perf_counter() < ends_at:
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert int(head.split(b" ", 2)[1]) == status, head.decode()
            fields = head.lower().split(b"\r\n")
            length = next((field for field in fields if field.startswith(b"content-length:")), b":0")
            await reader.readexactly(int(length.split(b":")[1]))
            taken.append(time.perf_counter() - started)
    return taken


def _request(method: str, path: str, body: bytes = b"", etag: str | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: HOST", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}"] if body else []
    lines += [f"If-None-Match: {etag}"] if etag else []
    return "\r\n".join([*lines, "", ""]).encode() + body
