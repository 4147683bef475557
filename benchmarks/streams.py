"""Cost of thousands of event streams on one API process: its memory, and the latency of other requests.

No worker runs: `SimulatedWorker` commits chunks and reports steps at a fixed rate. Listeners and requests come from
other processes and share the machine's cores with the API. Latency with listeners is compared with latency on the same
process without them, under the same work.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.figures import Figure
from benchmarks.http import api_process
from benchmarks.keys import ADMIN_KEY, made_key
from benchmarks.listeners import Listeners, authorization
from core.service.clock import SystemClock
from core.service.domain.frame_plan import chunk_span
from core.service.domain.manifest import chunk_key
from core.service.domain.ports import Lease, Results
from core.service.domain.schema import ChunkRecord, Lane, StepProgress
from core.service.redis.client import connect
from core.service.redis.job_store import RedisJobStore

LISTENERS = 2000
WITH_KEYS = 300
SECONDS_OF_A_ROUND = 4.0
REQUESTS_PER_SECOND = 100
CONNECTIONS = 10
CHUNK_SECONDS = 2.0
STEP_SECONDS = 0.25
"""A chunk every two seconds and four reports a second are more than one GPU makes."""
MAX_MORE_MEGABYTES = 200.0
MAX_TIMES_AS_SLOW = 2.0


class SimulatedWorker:
    """Changes the store as a worker does."""

    def __init__(self, redis_url: str) -> None:
        self._clock = SystemClock()
        self.store = RedisJobStore(connect(redis_url), self._clock, retention_seconds=3600)

    def copies_of(self, job_id: str, count: int) -> list[str]:
        """Create copies of a queued job; their ids."""
        record = self.store.get(job_id)
        job_ids = [f"job_{number:020d}" for number in range(count)]
        for new_id in job_ids:
            self.store.create(record.model_copy(update={"id": new_id, "revision": 0, "num_events": None}))
        return job_ids

    def make_chunk(self, job_id: str) -> None:
        record = self.store.get(job_id)
        span = chunk_span(record.chunks.count, record.spec.length)
        chunk = ChunkRecord(
            index=span.index,
            first_frame=span.first_frame,
            num_frames=span.num_frames,
            key=chunk_key(job_id, span.index),
            head_bytes=700,
            size_bytes=3000,
            sha256="00",
            created_at=self._clock.now(),
        )
        self.store.commit_chunk(self._claim(job_id, Lane.GENERATE), chunk, "none")

    def report_step(self, job_id: str, step: int) -> None:
        index = self.store.get(job_id).chunks.count
        self.store.report_progress(job_id, StepProgress(chunk_index=index, step=step, steps=8, at=self._clock.now()))

    def end(self, job_id: str) -> None:
        """Cancel the job and finalise it with its chunks."""
        self.store.request_cancel(job_id)
        if not self.store.get(job_id).status.is_terminal:
            self.store.begin_finalizing(job_id)
            self.store.finish(self._claim(job_id, Lane.FINALIZE), Results("video", None, "thumbnail"))

    def _claim(self, job_id: str, lane: Lane) -> Lease:
        lease = self.store.claim(job_id, lane, "benchmark", 60)
        assert lease is not None
        return lease

    @contextmanager
    def at_work(self, job_ids: Sequence[str]) -> Generator[None]:
        """A chunk every CHUNK_SECONDS and a step every STEP_SECONDS, of these jobs in turn."""
        over = threading.Event()

        def work() -> None:
            number = 0
            while not over.wait(STEP_SECONDS):
                job_id, number = job_ids[number % len(job_ids)], number + 1
                if number % round(CHUNK_SECONDS / STEP_SECONDS):
                    self.report_step(job_id, number % 8)
                else:
                    self.make_chunk(job_id)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            over.set()
            worker.join()


@dataclass(frozen=True)
class Measured:
    """p99 of the other requests in each round, without and with the listeners, and the memory that they cost."""

    alone_seconds: Sequence[float]
    beside_seconds: Sequence[float]
    more_megabytes: float
    slowest_spread_seconds: float
    """Of the events sent while all listened: from the first listener that got it to the last."""

    @property
    def times_as_slow(self) -> float:
        return statistics.median(self.beside_seconds) / statistics.median(self.alone_seconds)


def measure_listeners(
    api_pid: int,
    port: int,
    worker: SimulatedWorker,
    job_ids: Sequence[str],
    spare: str,
    folder: Path,
    rounds: int,
    listeners: int = LISTENERS,
    keys: Sequence[str] = (),
) -> Measured:
    """Listeners follow `job_ids`, with an API key for each in `keys`, whose first one may read `spare` too, a job
    without listeners. Rounds without listeners come before and after. Raises AssertionError if a listener missed an
    event, got one twice or was refused."""
    paths = (f"/jobs/{spare}", "/jobs", "/healthz", f"/jobs/{spare}/playlist.m3u8")
    key = keys[0] if keys else ""
    worker.make_chunk(spare)
    with worker.at_work([spare]):
        p99_of_round(port, paths, key)  # warms everything up
        alone = [p99_of_round(port, paths, key) for _ in range(rounds)]
    before = rss_megabytes(api_pid)
    with Listeners(port, listeners, job_ids, folder, keys) as following:
        following.wait_until_all_listen()
        with worker.at_work(job_ids):
            beside = [p99_of_round(port, paths, key) for _ in range(rounds)]
        more = rss_megabytes(api_pid) - before
        for job_id in job_ids:
            worker.end(job_id)
        report = following.report()
    assert not report.failures, report.failures[:3]
    assert sum(count for _, count in report.ids) == listeners
    for ids, _ in report.ids:
        assert ids == [f"{number}-0" for number in range(1, len(ids) + 1)], ids
    if len(job_ids) == 1:
        (whole,) = report.ids
        assert len(whole[0]) == worker.store.get(job_ids[0]).num_events
    else:
        of_jobs = [worker.store.get(job_id).num_events for job_id in job_ids]
        expected = Counter(of_jobs[number % len(of_jobs)] for number in range(listeners))
        had = sum((Counter({len(ids): count}) for ids, count in report.ids), Counter[int | None]())
        assert had == expected, (had, expected)
    with worker.at_work([spare]):
        alone += [p99_of_round(port, paths, key) for _ in range(rounds)]
    return Measured(alone, beside, more, _slowest_spread(report.spread_seconds) if len(job_ids) == 1 else 0.0)


def _slowest_spread(spread_seconds: dict[str, float]) -> float:
    """Only the last four: earlier events came before all listened."""
    ids = sorted(spread_seconds, key=lambda event_id: int(event_id.split("-")[0]))
    return max(spread_seconds[event_id] for event_id in ids[-4:])


def rss_megabytes(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6


def p99_of_round(port: int, paths: Sequence[str], key: str) -> float:
    """In seconds, of requests at a steady rate: a slow answer does not delay the next request of its connection."""
    taken = asyncio.run(_requests(port, paths, key))
    return sorted(taken)[int(0.99 * (len(taken) - 1))]


async def _requests(port: int, paths: Sequence[str], key: str) -> list[float]:
    started = time.perf_counter()
    each = await asyncio.gather(*(_paced(port, paths, key, started, number) for number in range(CONNECTIONS)))
    return [seconds for one in each for seconds in one]


async def _paced(port: int, paths: Sequence[str], key: str, started: float, number: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    pause, taken = CONNECTIONS / REQUESTS_PER_SECOND, list[float]()
    due = started + pause * number / CONNECTIONS
    with closing(writer):
        while due < started + SECONDS_OF_A_ROUND:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            lines = [f"GET {paths[len(taken) % len(paths)]} HTTP/1.1", "Host: localhost", *authorization(key)]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            taken.append(time.perf_counter() - began)
            due += pause
    return taken


def measure(rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """All listeners on one job, and each on a job of its own."""
    shown = list[Figure]()
    for num_jobs, title in ((1, "one job"), (LISTENERS, "a job each")):
        say(f"{LISTENERS} listeners, {title}")
        with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder, api_process(Path(folder)) as api:
            body = {"prompt": "a red circle moving left", "num_frames": 16 * 200}
            spare = str(httpx.post(f"{api.url}/jobs", json=body, trust_env=False).json()["id"])
            worker = SimulatedWorker(api.redis_url)
            followed = worker.copies_of(spare, num_jobs)
            found = measure_listeners(api.pid, api.port, worker, followed, spare, Path(folder), rounds)
        shown += figures_of(found, f"{LISTENERS} listeners, {title}")
    say(f"{WITH_KEYS} listeners with API keys")
    return [*shown, *figures_of(measure_with_keys(rounds), f"{WITH_KEYS} listeners with API keys")]


def measure_with_keys(rounds: int) -> Measured:
    """All listeners on one job, in a deployment that asks for keys."""
    with (
        tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder,
        api_process(Path(folder), admin_key=ADMIN_KEY) as api,
    ):
        key, body = made_key(api), {"prompt": "a red circle moving left", "num_frames": 16 * 200}
        headers = {"Authorization": f"Bearer {key}"}
        job, spare = (
            str(httpx.post(f"{api.url}/jobs", json=body, headers=headers, trust_env=False).json()["id"])
            for _ in range(2)
        )
        worker = SimulatedWorker(api.redis_url)
        return measure_listeners(api.pid, api.port, worker, [job], spare, Path(folder), rounds, WITH_KEYS, [key])


def figures_of(found: Measured, prefix: str) -> list[Figure]:
    """`prefix`: of the figures' names."""
    alone, beside = ([round(1000 * p99, 1) for p99 in p99s] for p99s in (found.alone_seconds, found.beside_seconds))
    shown = [
        Figure(f"{prefix}: more memory (RSS)", round(found.more_megabytes, 1), "MB", target=MAX_MORE_MEGABYTES),
        Figure(f"{prefix}: p99 of other requests", statistics.median(beside), "ms", samples=beside),
        Figure(f"{prefix}: the same without them", statistics.median(alone), "ms", samples=alone),
        Figure(f"{prefix}: times as slow", round(found.times_as_slow, 2), "x", target=MAX_TIMES_AS_SLOW),
    ]
    if found.slowest_spread_seconds:
        shown.append(Figure(f"{prefix}: until all have an event", round(found.slowest_spread_seconds, 2), "s"))
    return shown
