"""The calls that the scale benchmark measures, on a real Redis: they do what those of API and workers do."""

from __future__ import annotations

import redis

from benchmarks.scale import owners
from benchmarks.scale.costs import bytes_by_kind, bytes_of_job, costs_of, used_memory
from benchmarks.scale.jobs import claim, commit, create, manifest_written, report, store_of
from core.service.domain.schema import JobStatus, Lane
from core.service.redis.keys import STALE_MANIFESTS, queue_key, ready_queue


def test_a_chunk_is_claimed_reported_and_committed(client: redis.Redis) -> None:
    store = store_of(client)
    job = create(store, 0)
    assert client.zcard(STALE_MANIFESTS) == 0
    lease = claim(store, "worker-1")
    assert lease is not None
    assert (lease.job_id, claim(store, "worker-2")) == (job.id, None)
    assert report(store, lease) is False, "nobody has asked the job to stop"
    committed = commit(store, lease, store.get(job.id))
    assert (committed.status, committed.chunks.count) == (JobStatus.RUNNING, 1)
    manifest_written(store, committed)
    assert client.zcard(STALE_MANIFESTS) == 0


def test_costs_and_memory_are_those_of_the_calls(client: redis.Redis) -> None:
    store = store_of(client)
    create(store, 0)
    before, kinds_before = used_memory(client), bytes_by_kind(client)
    costs, jobs = costs_of(client, [lambda: create(store, 1), lambda: create(store, 2)])
    assert (len(costs.milliseconds), costs.commands > 2) == (2, True)
    kinds = bytes_by_kind(client) - kinds_before
    own = sum(bytes_of_job(client, job.id) for job in jobs)
    assert kinds["longtake:job:ID:record"] + kinds["longtake:job:ID:events"] == own
    assert used_memory(client) - before > own


def test_looks_are_measured_with_as_many_keys_as_asked_for(client: redis.Redis) -> None:
    figures = list(owners.measure(client, counts=(2, 5), looks=3))
    assert ["2 keys" in figures[0].name, "5 keys" in figures[1].name] == [True, True]
    assert client.zcard(f"{queue_key(ready_queue(Lane.GENERATE, 'of-many-keys'))}:1:owners") == 5
