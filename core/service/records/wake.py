"""Wakes workers: for a job that has changed, or for all that wait."""

from __future__ import annotations

from collections.abc import Iterable

from core.service.domain.ports import JobStore, TaskQueue
from core.service.domain.schema import JobRecord, Lane
from core.service.domain.transitions import wants


def wake_workers(queue: TaskQueue, record: JobRecord, lanes: Iterable[Lane] = Lane) -> None:
    """Wake a worker for each of these lanes in which the job has work and that no worker holds."""
    for lane in lanes:
        if wants(record, lane) and not record.lane(lane).held:
            queue.wake(lane, record.spec.model, record.id)


def wake_for_all(store: JobStore, queue: TaskQueue) -> None:
    """Wake a worker for each lane of each model in which a job waits. Raises StoreError."""
    for head in store.queued_work():
        queue.wake(head.lane, head.record.spec.model, head.record.id)
