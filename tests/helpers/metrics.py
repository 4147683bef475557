"""What the metrics of this process's worker code tell."""

from __future__ import annotations

from collections.abc import Callable

from tests.helpers.fake_world import MODEL
from worker.metrics import REGISTRY

GENERATED = {"model": MODEL, "lane": "generate"}
REFINED = {"model": MODEL, "lane": "refine"}


def value_of(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def rise_of(name: str, **labels: str) -> Callable[[], float]:
    """How much a sample has risen since this call: the registry is that of the process."""
    before = value_of(name, **labels)
    return lambda: value_of(name, **labels) - before
