"""What waits, what workers are making and what was made lately, from indexes and small keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from core.service.domain.ports import MadeLately, PieceInWork, Totals, WaitingJobs
from core.service.domain.priority import Priority
from core.service.domain.schema import Lane, Variant
from core.service.redis import keys, made
from core.service.redis.errors import raises_store_errors
from core.service.redis.event_log import StreamEntry, progress_from_fields
from core.service.redis.job_counts import read_totals, totals_of
from core.service.redis.job_records import JobRecords
from core.service.redis.lane_claims import WORKER_LEASE_SECONDS
from core.service.redis.schedule import queues_of

_VARIANTS: dict[Lane, Variant] = {Lane.GENERATE: "preview", Lane.REFINE: "refined"}
_Claim = tuple[str, Lane, str]
"""Job, lane and token."""


class StoredWorkReads(JobRecords):
    """ports.WorkReads."""

    @raises_store_errors
    def totals(self) -> Totals:
        with self._redis.pipeline(transaction=False) as pipe:
            read_totals(pipe)
            return totals_of(iter(pipe.execute()))

    @raises_store_errors
    def waiting(self) -> Sequence[WaitingJobs]:
        queues = queues_of(cast("set[str]", self._redis.smembers(keys.QUEUES)))
        with self._redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                for priority in Priority:
                    index = keys.waiting_index(queue.name, priority.number)
                    pipe.zcard(index)
                    pipe.zrange(index, 0, 0, withscores=True)
            answers = iter(pipe.execute())
        found = list[WaitingJobs]()
        for queue in queues:
            counts, since = dict[Priority, int](), list[float]()
            for priority in Priority:
                counts[priority] = int(next(answers))
                since += [score for _, score in cast("list[tuple[str, float]]", next(answers))]
            oldest = datetime.fromtimestamp(min(since), UTC) if since else None
            found.append(WaitingJobs(queue.lane, queue.model, counts, oldest))
        return found

    @raises_store_errors
    def in_work(self, workers: Sequence[str]) -> Mapping[str, PieceInWork]:
        if not workers:
            return {}
        found = cast("list[str | None]", self._redis.mget([keys.worker_lease_key(name) for name in workers]))
        claims = dict(_claims(zip(workers, found, strict=True)))
        with self._redis.pipeline(transaction=False) as pipe:
            for worker, (job_id, lane, _) in claims.items():
                pipe.get(keys.lease_key(job_id, lane))
                pipe.pttl(keys.worker_lease_key(worker))
                pipe.xrevrange(keys.progress_key(job_id, lane), count=1)
                pipe.llen(keys.chunks_key(job_id, _VARIANTS.get(lane, "preview")))
            answers = iter(pipe.execute())
        pieces = dict[str, PieceInWork]()
        for worker, (job_id, lane, token) in claims.items():
            live, left, entries, count = (next(answers) for _ in range(4))
            if live == token:  # else it has let go of what it claimed last, or lost it
                seconds = max(0.0, WORKER_LEASE_SECONDS - int(left) / 1000)
                pieces[worker] = _piece(job_id, lane, cast("Sequence[StreamEntry]", entries), int(count), seconds)
        return pieces

    @raises_store_errors
    def made_lately(self) -> MadeLately:
        return made.read(self._read_made, self._now())


def _claims(entries: Iterator[tuple[str, str | None]]) -> Iterator[tuple[str, _Claim]]:
    known = {lane.value for lane in Lane}
    for worker, entry in entries:
        job_id, lane, token = (entry or "  ").split(" ")
        if lane in known:  # else it never claimed anything, or is of a newer version
            yield worker, (job_id, Lane(lane), token)


def _piece(job_id: str, lane: Lane, entries: Sequence[StreamEntry], count: int, seconds: float) -> PieceInWork:
    """`count`: chunks that the lane has committed."""
    progress = progress_from_fields(entries[0][1]) if entries else None
    if progress is not None:
        return PieceInWork(job_id, lane, progress.chunk_index, progress.step, progress.steps, seconds)
    return PieceInWork(job_id, lane, count if lane in _VARIANTS else None, None, None, seconds)
