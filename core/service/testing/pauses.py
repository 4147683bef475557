"""ports.Pauses in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from core.service.domain.ports.pauses import PauseTarget, widest


class FakePauses:
    """ports.Pauses in memory."""

    def __init__(self) -> None:
        self._since: dict[PauseTarget, datetime] = {}

    def of(self, model: str, worker: str) -> PauseTarget | None:
        return widest(self._since, model, worker)

    def all(self) -> Mapping[PauseTarget, datetime]:
        return dict(sorted(self._since.items(), key=lambda pause: str(pause[0])))

    def pause(self, target: PauseTarget, now: datetime) -> None:
        self._since.setdefault(target, now)

    def resume(self, target: PauseTarget) -> bool:
        return self._since.pop(target, None) is not None
