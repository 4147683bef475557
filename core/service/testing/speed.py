"""ports.Speeds in memory."""

from __future__ import annotations

from collections.abc import Mapping

from core.service.domain.ports.speeds import NEWEST_COUNTS, SpeedOf


class FakeSpeeds:
    """ports.Speeds in memory."""

    def __init__(self) -> None:
        self._means: dict[str, dict[SpeedOf, float]] = {}

    def report(self, model: str, kind: SpeedOf, seconds_per_step: float) -> None:
        means = self._means.setdefault(model, {})
        mean = means.get(kind, seconds_per_step)
        means[kind] = mean + NEWEST_COUNTS * (seconds_per_step - mean)

    def of(self, model: str) -> Mapping[SpeedOf, float]:
        return dict(self._means.get(model, {}))
