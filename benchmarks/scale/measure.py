"""10,000 queued and 200 running jobs of several keys and classes, 32 workers and an API, on a real Redis and S3 server;
before that a tenth and a hundredth of them, so that growth is visible. Then 5,000 keys with a job
each, and whether two workers do twice as much.

A target is one of the largest queue. Costs of calls are those of one process that makes them one after the other.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import redis

from benchmarks.figures import Figure
from benchmarks.http import Api, api_process, request_of
from benchmarks.load import Load, measure_paced
from benchmarks.scale import owners, pair
from benchmarks.scale.costs import Costs, bytes_by_kind, bytes_of_job, costs_of, used_memory
from benchmarks.scale.jobs import CHUNKS, LEASE_SECONDS, claim, commit, create, manifest_written, report, store_of
from benchmarks.scale.upkeep import Upkeep
from benchmarks.scale.workers import Claims, Workers
from core.service.domain.ports import Lease
from core.service.domain.schema import JobRecord, JobStatus
from core.service.redis.client import connect
from core.service.redis.keys import MANIFESTS_READ

T = TypeVar("T")
SIZES = (100, 1000, 10_000)
"""Queued jobs."""
MOST_RUNNING = 200
LEAST_RUNNING = 20
WORKERS = 32
SECONDS = 10.0
"""That the workers work, at each size."""
LISTS_PER_SECOND = 30
LISTS = ("/jobs", "/jobs?status=queued&limit=100")
WRONG = (0, 10, 100)
PASSES = 5
CLAIM_MS, PASS_MS, LIST_MS, JOB_BYTES = 10, 100, 30, 4000
"""Targets."""


def measure(say: Callable[[str], None], sizes: Sequence[int] = SIZES, seconds: float = SECONDS) -> list[Figure]:
    """All figures of each size, then those of many keys and of two workers."""
    figures = list[Figure]()
    with (
        tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder,
        api_process(Path(folder)) as api,
        connect(api.redis_url) as client,
    ):
        client.set(MANIFESTS_READ, "1")
        for size in sizes:
            say(f"{size} queued jobs")
            figures += Size(client, api, size, is_largest=size == max(sizes)).figures(seconds)
        say("5,000 keys with a queued job")
        figures += owners.measure(client)
    return figures + pair.measure(say)


class Size:
    """The measurements with one number of queued jobs."""

    def __init__(self, client: redis.Redis, api: Api, queued: int, *, is_largest: bool) -> None:
        self._client, self._api = client, api
        self._store = store_of(client)
        self._queued = queued
        self._running = max(LEAST_RUNNING, min(MOST_RUNNING, queued // 50))
        self._is_largest = is_largest
        self._made = client.dbsize()

    def figures(self, seconds: float) -> Iterator[Figure]:
        yield from self._submitted()
        yield from self._claimed()
        self._top_up()
        yield from self._worked(seconds)
        yield from self._made_whole()
        upkeep = Upkeep(self._client, self._api.settings)
        upkeep.settle()
        for wrong in WRONG:
            if wrong <= self._queued / 10:
                yield self._kept_up(upkeep, wrong)

    def _submitted(self) -> Iterator[Figure]:
        """Jobs until there are as many as wanted: what each costs."""
        self._create(1)  # scripts, and the keys that all jobs share
        number, kinds_before = self._missing(JobStatus.QUEUED, self._queued), bytes_by_kind(self._client)
        before = used_memory(self._client)
        costs, _ = costs_of(self._client, self._creations(number))
        of_each = round((used_memory(self._client) - before) / number)
        yield from self._costs("POST: the store's part", costs)
        kinds = (bytes_by_kind(self._client) - kinds_before).most_common()
        note = ", ".join(f"{kind} {round(size / number)}" for kind, size in kinds if size >= number)
        yield self._figure("Redis memory per queued job", of_each, "bytes", JOB_BYTES, note=note)

    def _claimed(self) -> Iterator[Figure]:
        """So many claims in a row, each by another worker, and then a chunk of each job: they run now."""
        claims, leases = self._costs_of([partial(self._claim, n) for n in range(self._running)])
        jobs = [(lease, self._store.get(lease.job_id)) for lease in leases]
        reports, _ = self._costs_of([partial(report, self._store, lease) for lease in leases])
        renewals, _ = self._costs_of([partial(self._store.renew, lease, LEASE_SECONDS) for lease in leases])
        commits, committed = self._costs_of([partial(commit, self._store, *each) for each in jobs])
        manifests, _ = self._costs_of([partial(manifest_written, self._store, job) for job in committed])
        yield from self._costs("claim", claims)
        yield from self._costs("report of a step", reports)
        yield from self._costs("renewal of a lease", renewals)
        yield from self._costs("commit of a chunk", commits)
        yield from self._costs("manifest of a commit: the store's part", manifests)

    def _costs_of(self, calls: Iterable[Callable[[], T]]) -> tuple[Costs, list[T]]:
        return costs_of(self._client, calls)

    def _claim(self, number: int) -> Lease:
        lease = claim(self._store, f"alone-{number}")
        assert lease is not None, "no job is free"
        return lease

    def _top_up(self) -> None:
        """Those that began are no longer queued."""
        self._create(self._missing(JobStatus.QUEUED, self._queued))

    def _worked(self, seconds: float) -> Iterator[Figure]:
        """Workers beside clients that list jobs."""
        with Workers(self._api.redis_url, WORKERS, seconds) as workers:
            lists = {path: measure_paced(self._load(path), LISTS_PER_SECOND / 2, seconds / 2) for path in LISTS}
            found = workers.claims()
        yield from self._of_workers(found)
        for path, milliseconds in lists.items():
            target = LIST_MS if path == LISTS[0] else None
            yield self._figure(f"GET {path}, p50", percentile(milliseconds, 50), "ms")
            yield self._figure(f"GET {path}, p99", percentile(milliseconds, 99), "ms", target)

    def _of_workers(self, found: Claims) -> Iterator[Figure]:
        note = f"{len(found.milliseconds)} claims of {WORKERS} workers, {found.without_job} more found no job"
        yield self._figure("claim beside other workers, p50", percentile(found.milliseconds, 50), "ms")
        p99 = percentile(found.milliseconds, 99)
        yield self._figure("claim beside other workers, p99", p99, "ms", CLAIM_MS, note=note)

    def _made_whole(self) -> Iterator[Figure]:
        """Jobs all of whose chunks are there: Redis keeps as much of them once they have ended."""
        whole = self._store.list(status=JobStatus.FINALIZING, limit=20).jobs
        if whole:
            sizes = [bytes_of_job(self._client, job.id) for job in whole]
            yield self._figure(
                f"own keys of a job of {CHUNKS} chunks", statistics.median(sizes), "bytes", samples=sizes
            )

    def _load(self, path: str) -> Load:
        return Load(self._api.port, self._api.pid, request_of("GET", path), 200)

    def _kept_up(self, upkeep: Upkeep, wrong: int) -> Figure:
        """A pass of the janitor; with nothing wrong the median of some."""
        if wrong:
            page = self._store.list(status=JobStatus.QUEUED, limit=wrong)
            upkeep.break_jobs([job.id for job in page.jobs])
        passes = [upkeep.pass_ms() for _ in range(1 if wrong else PASSES)]
        both = [round(own + of_redis, 2) for own, of_redis in passes]
        note = f"of it Redis: {statistics.median(of_redis for _, of_redis in passes):g} ms"
        name = f"pass of the janitor, {wrong} jobs wrong: CPU"
        return self._figure(name, statistics.median(both), "ms", None if wrong else PASS_MS, both, note)

    def _create(self, count: int) -> list[JobRecord]:
        return [creation() for creation in self._creations(count)]

    def _creations(self, count: int) -> Iterator[Callable[[], JobRecord]]:
        for _ in range(count):
            self._made += 1
            yield partial(create, self._store, self._made)

    def _count(self, status: JobStatus) -> int:
        return self._store.counts([]).by_status.get(status, 0)

    def _missing(self, status: JobStatus, wanted: int) -> int:
        return max(1, wanted - self._count(status))

    def _costs(self, name: str, costs: Costs) -> Iterator[Figure]:
        yield self._figure(f"{name}, one at a time", percentile(costs.milliseconds, 50), "ms")
        yield self._figure(f"{name}, CPU of the caller", costs.client_cpu_ms, "ms")
        yield self._figure(f"{name}, CPU of Redis", costs.redis_cpu_ms, "ms", note=costs.note)

    def _figure(
        self,
        name: str,
        value: float,
        unit: str,
        target: float | None = None,
        samples: Sequence[float] = (),
        note: str = "",
    ) -> Figure:
        title = f"{name}, {self._queued} queued"
        return Figure(title, value, unit, target if self._is_largest else None, samples=samples, note=note)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent do not exceed. Raises AssertionError without values."""
    assert values, "nothing was measured"
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
