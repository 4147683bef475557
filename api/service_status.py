"""Puts together what GET /status answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from api.backends.ports import Ports
from api.backends.readiness import WorkersSeen
from core.service.domain.capacity import PoolDemand, desired_workers
from core.service.domain.ports import (
    MadeLately,
    PieceInWork,
    WaitingJobs,
    WorkerStatus,
    measuring_name,
    media_thread_names,
)
from core.service.domain.ports.pauses import holds_pool
from core.service.domain.priority import Priority
from core.service.domain.service_status import PauseView, PieceView, QueueView, RateView, ServiceStatus, WorkerNow


def read_status(ports: Ports, target_seconds: float) -> ServiceStatus:
    """About ten round trips, O(pools + workers). `target_seconds`: LONGTAKE_TARGET_QUEUE_SECONDS. Raises StoreError."""
    store, workers, paused = ports.store, ports.workers.all(), ports.pauses.all()
    seen = WorkersSeen(workers, paused)
    totals, made, now = store.totals(), store.made_lately(), ports.clock.now()
    making = store.in_work([name for worker in workers for name in _names(worker)])
    return ServiceStatus(
        at=now,
        paused=[PauseView(model=target.model, worker=target.worker, since=since) for target, since in paused.items()],
        workers=[_worker(worker, seen, making) for worker in workers],
        queues=list(_queues(store.pool_demands(), store.waiting(), seen, target_seconds, now)),
        rates=list(_rates(made)),
        rate_seconds=round(made.seconds, 1),
        jobs=dict(totals.jobs),
        webhooks_pending=totals.pending_webhooks,
    )


def _names(worker: WorkerStatus) -> list[str]:
    """Those under which it claims work."""
    return [worker.name, measuring_name(worker.name), *media_thread_names(worker.name, worker.media_threads)]


def _worker(worker: WorkerStatus, seen: WorkersSeen, making: Mapping[str, PieceInWork]) -> WorkerNow:
    pieces = [_piece(making[name]) for name in _names(worker) if name in making]
    shown: dict[str, Any] = {**dict(worker), "paused": seen.is_paused(worker), "making": pieces}
    return WorkerNow(**shown)


def _piece(piece: PieceInWork) -> PieceView:
    return PieceView(
        job_id=piece.job_id,
        lane=piece.lane,
        chunk=piece.chunk,
        step=piece.step,
        steps=piece.steps,
        seconds=round(piece.seconds, 1),
    )


def _queues(
    demands: Iterable[PoolDemand],
    waiting: Iterable[WaitingJobs],
    seen: WorkersSeen,
    target_seconds: float,
    now: datetime,
) -> Iterator[QueueView]:
    """Of all pools that have work or a worker."""
    workers = seen.workers
    by_pool = dict[str, list[WaitingJobs]]()
    for queue in waiting:
        by_pool.setdefault(queue.model or queue.lane.value, []).append(queue)
    known = {demand.pool: demand for demand in demands if demand.jobs or demand.active_workers}
    served = {pool for worker in workers for pool in worker.pools}
    for pool in sorted({*known, *served}):
        demand = known.get(pool) or PoolDemand(pool, 0, 0, queue_seconds=0.0, active_workers=0)
        queues = by_pool.get(pool, [])
        oldest = min((queue.since for queue in queues if queue.since is not None), default=None)
        yield QueueView(
            pool=pool,
            waiting={each: sum(queue.by_priority[each] for queue in queues) for each in Priority},
            waiting_seconds=None if oldest is None else round(max(0.0, (now - oldest).total_seconds()), 1),
            queued_jobs=demand.queued_jobs,
            begun_jobs=demand.begun_jobs,
            queue_seconds=None if demand.queue_seconds is None else round(demand.queue_seconds, 1),
            active_workers=demand.active_workers,
            desired_workers=0 if holds_pool(seen.paused, pool) else desired_workers(demand, target_seconds),
            workers=sum(worker.is_ready and pool in worker.pools for worker in workers),
            unserved=[queue.lane for queue in queues if queue.count and not _is_served(queue, workers)],
        )


def _is_served(queue: WaitingJobs, workers: Iterable[WorkerStatus]) -> bool:
    """Whether a worker takes its jobs, or will when it has loaded; one that is paused counts."""
    of_queue = (worker for worker in workers if worker.serves(queue.lane, queue.model))
    return any(worker.is_ready or worker.state == "starting" for worker in of_queue)


def _rates(made: MadeLately) -> Iterator[RateView]:
    for (lane, model), of_lane in sorted(made.by_lane.items(), key=lambda each: (each[0][1], each[0][0])):
        yield RateView(
            model=model,
            lane=lane,
            chunks_per_second=round(of_lane.chunks / made.seconds, 3),
            frames_per_second=round(of_lane.frames / made.seconds, 2),
            realtime_factor=round(of_lane.video_seconds / made.seconds, 3),
        )
