"""What one look at a queued job costs while many API keys have a job in its queue: its place depends on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import redis

from benchmarks.figures import Figure
from benchmarks.scale.costs import costs_of
from benchmarks.scale.jobs import new_record, store_of
from core.service.domain.schema import JobRecord

COUNTS = (50, 500, 5000)
"""Keys, each with one job."""
LOOKS = 200
MOST_MS = 0.3
"""Of Redis' CPU, with the most keys."""


def measure(client: redis.Redis, counts: tuple[int, ...] = COUNTS, looks: int = LOOKS) -> Iterator[Figure]:
    """Looks at the job that came last, of a model that no other benchmark uses."""
    store, made = store_of(client), 0
    for count in counts:
        job_id = ""
        for number in range(made, count):
            job_id = store.create(_record(number)).id
        made = count
        store.look(job_id)
        costs, _ = costs_of(client, [partial(store.look, job_id)] * looks)
        target = MOST_MS if count == max(counts) else None
        name = f"look at a queued job, {count} keys have one: CPU of Redis"
        yield Figure(name, costs.redis_cpu_ms, "ms", target, note=costs.note)


def _record(number: int) -> JobRecord:
    record = new_record(number)
    spec = record.spec.model_copy(update={"model": "of-many-keys"})
    return record.model_copy(update={"spec": spec, "owner": f"key_{number:016d}"})
