"""How many jobs there are, and how much work pools have, from the sizes of indexes and counters; and since when the
oldest queued job of each model and class waits, from the records at the head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, cast

from redis.client import Pipeline

from core.service.domain.capacity import LaneWork, PoolDemand, pool_demand
from core.service.domain.ports import JobCounts, QueuedJobs, Totals
from core.service.domain.priority import Priority
from core.service.domain.schema import JobStatus, Lane
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors
from core.service.redis.job_records import JobRecords
from core.service.redis.schedule import Queue, queues_of

READ_AT_ONCE = 4
"""Records of a head. One is enough unless jobs wait that went on after an end."""
MOST_READ = 64
"""Of them in all: if all of these went on, one behind them may have waited longer."""


@dataclass(frozen=True)
class _PoolWork:
    """The work of a pool, and the jobs in each of its queues, claimed ones too."""

    demand: PoolDemand
    jobs: Mapping[Queue, int]


class StoredJobCounts(JobRecords):
    """ports.JobStore: counts."""

    @raises_store_errors
    def counts(self, models: Sequence[str]) -> JobCounts:
        pools = self._pools()
        of_queues = {queue.model for of_pool in pools for queue in of_pool if queue.model}
        classes = [(model, priority) for model in sorted({*models, *of_queues}) for priority in Priority]
        with self._redis.pipeline(transaction=False) as pipe:
            read_totals(pipe)
            _read_pools(pipe, pools)
            for model, priority in classes:
                pipe.zcount(keys.queue_index(model), *_scores_of(priority))
            answers = iter(pipe.execute())
        totals, works = totals_of(answers), _works_of(pools, answers)
        queued = {
            (model, priority): QueuedJobs(number, self._oldest_queued_at(model, priority) if number else None)
            for (model, priority), number in zip(classes, map(int, answers), strict=True)
        }
        in_lanes = {(queue.lane, queue.model): jobs for work in works for queue, jobs in work.jobs.items()}
        return JobCounts(totals.jobs, queued, in_lanes, totals.pending_webhooks, [work.demand for work in works])

    @raises_store_errors
    def pool_demands(self) -> Sequence[PoolDemand]:
        pools = self._pools()
        with self._redis.pipeline(transaction=False) as pipe:
            _read_pools(pipe, pools)
            return [work.demand for work in _works_of(pools, iter(pipe.execute()))]

    def _pools(self) -> list[list[Queue]]:
        """The queues of each pool that ever had a job, by name."""
        names = cast("set[str]", self._redis.smembers(keys.QUEUES))
        queues = sorted(queues_of(names), key=lambda queue: queue.pool_name)
        return [list(of_pool) for _, of_pool in groupby(queues, key=lambda queue: queue.pool_name)]

    def _oldest_queued_at(self, model: str, priority: Priority) -> datetime | None:
        """Since when the job of a class waits that has waited longest. A class is in order of creation, so none behind
        the first job that never ended has waited longer than that one."""
        oldest: datetime | None = None
        for start in range(0, MOST_READ, READ_AT_ONCE):
            members = self._oldest_of(model, priority, start)
            for record in self._records(members):
                if record.status is not JobStatus.QUEUED:  # begun meanwhile
                    continue
                oldest = record.queued_at if oldest is None else min(oldest, record.queued_at)
                if not record.earlier:
                    return oldest
            if len(members) < READ_AT_ONCE:
                break
        return oldest

    def _oldest_of(self, model: str, priority: Priority, start: int) -> list[str]:
        found = self._redis.zrangebyscore(keys.queue_index(model), *_scores_of(priority), start=start, num=READ_AT_ONCE)
        return cast("list[str]", found)


def read_totals(pipe: Pipeline) -> None:
    """Queue what `totals_of` needs."""
    for status in JobStatus:
        pipe.zcard(keys.status_index(status))
    pipe.zcard(keys.OUTBOX_DUE)


def totals_of(answers: Iterator[Any]) -> Totals:
    """Takes the answers to `read_totals`."""
    return Totals({status: int(next(answers)) for status in JobStatus}, int(next(answers)))


def _read_pools(pipe: Pipeline, pools: Iterable[Sequence[Queue]]) -> None:
    """Queue what `_works_of` needs."""
    for of_pool in pools:
        pipe.hlen(f"{of_pool[0].pool}:charges")
        for queue in of_pool:
            pipe.hlen(keys.entries_key(queue.name))
            pipe.hmget(f"{queue.pool}:state", queue.counters)


def _works_of(pools: Iterable[Sequence[Queue]], answers: Iterator[Any]) -> list[_PoolWork]:
    """Takes the answers to `_read_pools`."""
    works = list[_PoolWork]()
    for of_pool in pools:
        active, jobs, lanes = int(next(answers)), dict[Queue, int](), list[LaneWork]()
        for queue in of_pool:
            jobs[queue] = int(next(answers))
            lanes.append(_lane_work(queue.lane, jobs[queue], next(answers)))
        works.append(_PoolWork(pool_demand(of_pool[0].pool_name, lanes, active), jobs))
    return works


def _scores_of(priority: Priority) -> tuple[int, int]:
    """The least and the greatest score of a class."""
    score = keys.class_score(priority)
    return score, score


def _lane_work(lane: Lane, jobs: int, counters: Sequence[str | None]) -> LaneWork:
    """`jobs` with work on the lane, and its Queue.counters. Entries that a version without these counters has written
    are not in them."""
    *counts, mean_seconds, pace = counters
    new_jobs, new_pieces, begun_pieces, streams = (max(0, int(count or 0)) for count in counts)
    queued = min(jobs, new_jobs)
    return LaneWork(
        queued_jobs=queued,
        begun_jobs=jobs - queued,
        pieces=max(jobs, new_pieces + begun_pieces),
        mean_seconds=None if mean_seconds is None else float(mean_seconds),
        streams=min(queued, streams),
        pace=float(pace) if pace is not None and lane is Lane.GENERATE else None,
    )
