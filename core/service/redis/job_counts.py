"""How many jobs there are, from the sizes of indexes: no record is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from core.service.domain.ports import JobCounts, QueuedJobs
from core.service.domain.schema import JobStatus, Lane
from core.service.records.job_order import created_at_of_member
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors
from core.service.redis.job_records import JobRecords
from core.service.redis.job_rows import lane_of_queue


class StoredJobCounts(JobRecords):
    """ports.JobStore: counts."""

    @raises_store_errors
    def counts(self, models: Sequence[str]) -> JobCounts:
        queues = _lanes_by_queue(cast("set[str]", self._redis.smembers(keys.READY_QUEUES)))
        of_models = sorted({*models, *(model for _, model in queues.values() if model)})
        with self._redis.pipeline(transaction=False) as pipe:
            for status in JobStatus:
                pipe.zcard(keys.status_index(status))
            for queue in queues:
                pipe.zcard(keys.ready_index(queue))
            for model in of_models:
                pipe.zcard(keys.queue_index(model))
            pipe.zcard(keys.OUTBOX_DUE)
            for model in of_models:
                pipe.zrange(keys.queue_index(model), 0, 0)
            answers = iter(pipe.execute())
        by_status = {status: int(next(answers)) for status in JobStatus}
        in_lanes = {lane: int(next(answers)) for lane in queues.values()}
        numbers = [int(next(answers)) for _ in of_models]
        pending = int(next(answers))
        oldest = [cast("list[str]", next(answers)) for _ in of_models]
        queued = {
            model: QueuedJobs(number, created_at_of_member(first[0]) if first else None)
            for model, number, first in zip(of_models, numbers, oldest, strict=True)
        }
        return JobCounts(by_status, queued, in_lanes, pending)


def _lanes_by_queue(queues: set[str]) -> dict[str, tuple[Lane, str]]:
    """Lane and model of each queue, those of a newer version left out."""
    lanes = {queue: lane_of_queue(queue) for queue in sorted(queues)}
    return {queue: (lane, queue.partition(":")[2]) for queue, lane in lanes.items() if lane is not None}
