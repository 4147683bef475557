"""Requests per second that one API process answers, and CPU time that it spends on each: submitting, reading, polling
and listing jobs, short and long ones.

Against another checkout (`--against FOLDER`, such as a worktree of the previous commit) both are measured alternately
on the same kind of servers, so that only their ratio counts. No worker runs: only the API is measured. The load comes
from this process and shares the machine's cores with the API. On a machine that others use, CPU time is the number to
compare.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from benchmarks.figures import Figure
from benchmarks.load import Load, Sample, measure_load
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

LONG_CHUNKS = 600
MOST_P99_MS = 60
START_SECONDS = 60.0
BODY = json.dumps({"prompt": "a red circle moving left", "num_frames": 48, "seed": 1}).encode()


@dataclass(frozen=True)
class Kind:
    """One kind of request. `{job}` in the path is the short job or, with `long`, the one of LONG_CHUNKS chunks; with
    status 304 it is sent with the ETag of the last answer. `target`: requests per second, or with `than` times as many
    as of that other kind."""

    name: str
    path: str
    status: int = 200
    method: str = "GET"
    body: bytes = b""
    long: bool = False
    target: float | None = None
    than: str | None = None


KINDS = (
    Kind("POST /jobs", "/jobs", 202, "POST", BODY, target=200),
    Kind("GET /jobs/{id}", "/jobs/{job}", target=800),
    Kind("GET /jobs/{id}, 304", "/jobs/{job}", 304, target=1.5, than="GET /jobs/{id}"),
    Kind("GET /jobs, 20 of them", "/jobs"),
    Kind("GET /jobs/{id}, 600 chunks", "/jobs/{job}", long=True, target=0.8, than="GET /jobs/{id}"),
    Kind("GET /jobs/{id}, 600 chunks, 304", "/jobs/{job}", 304, long=True, target=0.8, than="GET /jobs/{id}, 304"),
    Kind("GET playlist, 600 chunks", "/jobs/{job}/playlist.m3u8", long=True),
    Kind("GET playlist, 600 chunks, 304", "/jobs/{job}/playlist.m3u8", 304, long=True),
    Kind("GET 100 of 600 chunks", "/jobs/{job}/chunks?after=299", long=True),
    Kind("GET the last of 600 chunks", "/jobs/{job}/chunks?after=598", long=True),
)
WITH_P99 = "GET /jobs/{id}"
"""The kind whose p99 has a target."""
Samples = Mapping[str, Sequence[Sample]]
"""By kind, in the order of the rounds."""


def measure(rounds: int, against: Path | None, say: Callable[[str], None]) -> list[Figure]:
    """Each kind `rounds` times on this checkout and, in turn, on the other one."""
    trees = [REPOSITORY, *([against.resolve()] if against else [])]
    samples: dict[Path, dict[str, list[Sample]]] = {tree: {kind.name: [] for kind in KINDS} for tree in trees}
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        for turn in range(rounds):
            for tree in trees:
                say(f"round {turn + 1} of {rounds}: {tree.name}")
                for kind, sample in _one_round(tree, Path(folder) / f"{turn}-{tree.name}").items():
                    samples[tree][kind].append(sample)
    own, others = samples[trees[0]], {tree.name: samples[tree] for tree in trees[1:]}
    return [figure for kind in KINDS for figure in _figures(kind, own, others)]


def _figures(kind: Kind, own: Samples, others: Mapping[str, Samples]) -> list[Figure]:
    """`others`: of another checkout, by its name."""
    name = kind.name
    rates = [sample.per_second for sample in own[name]]
    slowest = [sample.p99_ms for sample in own[name]]
    cpu = [sample.cpu_ms for sample in own[name]]
    target = None if kind.than else kind.target
    figures = [
        Figure(name, _median(rates), "requests/s", target, "higher", rates),
        Figure(f"{name}, p99", _median(slowest), "ms", MOST_P99_MS if name == WITH_P99 else None, samples=slowest),
        Figure(f"{name}, CPU of the API", _median(cpu), "ms/request", samples=cpu),
    ]
    if kind.than:
        times = [round(a.per_second / b.per_second, 2) for a, b in zip(own[name], own[kind.than], strict=True)]
        title = f"{name}, times as many as {kind.than}"
        figures.append(Figure(title, _median(times), "x", kind.target, "higher", times))
    for tree, of_other in others.items():
        times = [round(b.cpu_ms / a.cpu_ms, 2) for a, b in zip(own[name], of_other[name], strict=True)]
        note = f"{tree}: {[sample.cpu_ms for sample in of_other[name]]} ms/request, "
        note += f"{[sample.per_second for sample in of_other[name]]} requests/s"
        figures.append(Figure(f"{name}, times as cheap", _median(times), "x", None, "higher", times, note))
    return figures


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


@dataclass(frozen=True)
class Api:
    """One API process on servers of its own, without workers."""

    child: Child
    port: int
    settings: Settings

    @property
    def redis_url(self) -> str:
        return self.settings.redis_url

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.child.pid


@contextmanager
def api_process(folder: Path, tree: Path = REPOSITORY, admin_key: SecretStr | None = None) -> Generator[Api]:
    """An API of the checkout `tree` that answers; stopped at the end."""
    with EmbeddedRedis(folder / "redis") as redis_server, EmbeddedS3(folder / "s3") as s3_server:
        port = free_port()
        settings = settings_of(redis_server, s3_server).model_copy(update={"admin_key": admin_key})
        environment = {**os.environ, **environment_of(settings), "PYTHONPATH": str(tree)}
        command = [sys.executable, "-c", _RUN_IN_CHECKOUT.format(tree=str(tree)), "--port", str(port)]
        child = Child("the API", command, environment, folder / "api.log")
        try:
            wait_for_answer(port, child)
            yield Api(child, port, settings)
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


def _one_round(tree: Path, folder: Path) -> dict[str, Sample]:
    """Each kind once, on fresh servers."""
    with api_process(folder, tree) as api:
        with api_client(api.port) as http:
            short_job, long_job = _first_jobs(http, api.redis_url)
            requests = {kind: _request_of(kind, http, long_job if kind.long else short_job) for kind in KINDS}
        loads = {kind.name: Load(api.port, api.pid, request, kind.status) for kind, request in requests.items()}
        return {name: measure_load(load) for name, load in loads.items()}


_RUN_IN_CHECKOUT = "import os; os.chdir({tree!r}); from api import server; server.main()"
"""Runs the API of a checkout: an installed package would otherwise come first."""


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
    return request_of(kind.method, path, kind.body, etag)


def request_of(method: str, path: str, body: bytes = b"", etag: str | None = None, key: str | None = None) -> bytes:
    """The bytes of a request, of the holder of an API key."""
    lines = [f"{method} {path} HTTP/1.1", "Host: HOST", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}"] if body else []
    lines += [f"If-None-Match: {etag}"] if etag else []
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "\r\n".join([*lines, "", ""]).encode() + body
