"""The metrics of pools, for autoscalers: open work, workers, and how many workers would do it in time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from core.service.domain.capacity import PoolDemand, desired_workers
from core.service.domain.ports import PauseTarget, WorkerStatus
from core.service.domain.ports.pauses import holds_pool
from core.service.domain.schema import LANES_OF_ANY_MODEL


def pool_metrics(
    demands: Iterable[PoolDemand],
    models: Iterable[str],
    workers: Sequence[WorkerStatus],
    target_seconds: float,
    paused: Collection[PauseTarget],
) -> Iterable[Metric]:
    """Of the pools of these demands, of `models`, and of the CPU workers: an autoscaler needs zeros too. A pool that is
    `paused` has its work, and needs nobody."""
    known = {demand.pool: demand for demand in demands}
    names = sorted({*known, *models, *(lane.value for lane in LANES_OF_ANY_MODEL)})
    seconds = _gauge("longtake_pool_queue_seconds", "Expected worker seconds of the open work of a pool.")
    active = _gauge("longtake_pool_active_workers", "Pieces of work of a pool that workers make now.")
    ready = _gauge("longtake_pool_workers", "Worker processes of a pool that are ready or busy.")
    desired = _gauge("longtake_pool_desired_workers", "Workers that would do the open work of a pool in time.")
    for name in names:
        demand = known.get(name) or PoolDemand(name, 0, 0, queue_seconds=0.0, active_workers=0)
        if demand.queue_seconds is not None:
            seconds.add_metric([name], demand.queue_seconds)
        active.add_metric([name], demand.active_workers)
        ready.add_metric([name], sum(worker.is_ready and name in worker.pools for worker in workers))
        desired.add_metric([name], 0 if holds_pool(paused, name) else desired_workers(demand, target_seconds))
    return seconds, active, ready, desired


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["pool"])
