"""`python -m benchmarks.scale.workers URL COUNT SECONDS`: workers that claim, pretend to make a chunk, and commit it.

Each is a process of its own, as in production. All are forked from this one, which has imported everything, so that 32
of them start at once. Prints one line of JSON: the milliseconds of every claim, and how many found nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.scale.jobs import claim, commit, store_of
from core.service.redis.client import connect

CHUNK_SECONDS = 0.25
"""On average. 32 workers so make 128 chunks a second, as many as 500 GPUs with 4 seconds for each."""
START_SECONDS = 1.0
"""From the first fork until all begin."""


@dataclass(frozen=True)
class Claims:
    """Of all workers: the milliseconds of every claim that found a job; and how many found none."""

    milliseconds: list[float]
    without_job: int


class Workers:
    """The process of the workers, which runs from `with` on for `seconds`."""

    def __init__(self, redis_url: str, count: int, seconds: float) -> None:
        command = [sys.executable, "-m", "benchmarks.scale.workers", redis_url, str(count), str(seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def claims(self) -> Claims:
        """Waits for their end."""
        assert self._process.stdout is not None
        answer = self._process.stdout.read()
        assert self._process.wait() == 0, "the workers failed"
        return Claims(**json.loads(answer))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)


def work(redis_url: str, number: int, starts_at: float, ends_at: float) -> Claims:
    """One worker. Times as of time.monotonic."""
    chance, name, own = random.Random(number), f"benchmark-{number}", None  # noqa: S311 - no secret
    milliseconds, without_job = list[float](), 0
    with connect(redis_url) as client:
        store = store_of(client)
        store.ping()
        time.sleep(max(0.0, starts_at - time.monotonic()) + chance.uniform(0, CHUNK_SECONDS))
        while time.monotonic() < ends_at:
            started = time.perf_counter()
            lease = claim(store, name, own)
            taken = time.perf_counter() - started
            if lease is None:
                without_job += 1
                time.sleep(CHUNK_SECONDS)
                continue
            milliseconds.append(round(1000 * taken, 3))
            job, own = store.get(lease.job_id), lease.job_id
            time.sleep(chance.uniform(0.5, 1.5) * CHUNK_SECONDS)
            commit(store, lease, job)
    return Claims(milliseconds, without_job)


def all_of(found: Sequence[Claims]) -> Claims:
    return Claims([each for one in found for each in one.milliseconds], sum(one.without_job for one in found))


def main() -> None:
    redis_url, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    starts_at = time.monotonic() + START_SECONDS
    tasks = [(redis_url, number, starts_at, starts_at + seconds) for number in range(count)]
    with multiprocessing.get_context("fork").Pool(count) as pool:
        print(json.dumps(asdict(all_of(pool.starmap(work, tasks, chunksize=1)))), flush=True)


if __name__ == "__main__":
    main()
