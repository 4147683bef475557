"""The metric of pauses, so that alerts of queues know them, and one that somebody forgot is seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric

from core.service.domain.ports import EVERYTHING, PauseTarget


def pause_metrics(paused: Collection[PauseTarget], models: Iterable[str]) -> Metric:
    """1 or 0 of everything and of each of `models`; of workers how many are paused by name, as their names are without
    number."""
    family = GaugeMetricFamily("longtake_paused", "What is paused.", labels=["kind", "model"])
    family.add_metric(["all", ""], EVERYTHING in paused)
    for model in sorted({*models, *(target.model for target in paused if target.model is not None)}):
        family.add_metric(["model", model], PauseTarget(model=model) in paused)
    family.add_metric(["worker", ""], sum(target.worker is not None for target in paused))
    return family
