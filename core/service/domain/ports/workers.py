"""The worker registry port."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from core.service.domain.schema import LANES_OF_ANY_MODEL, Stored

WorkerKind = Literal["both", "generate", "refine", "cpu"]
"""Lanes that a worker process serves; "both" is generate and refine."""
WorkerState = Literal["starting", "ready", "busy", "not_ready", "draining"]


class WorkerStatus(Stored):
    """What a worker process reports every few seconds. `reason` says why it is not ready."""

    name: str
    kind: WorkerKind
    model: str | None
    state: WorkerState
    reason: str | None = None
    device: str
    pid: int
    cuda_visible_devices: str | None = None
    job_id: str | None = None
    started_at: datetime

    @property
    def is_ready(self) -> bool:
        """Whether it works, or would."""
        return self.state in {"ready", "busy"}

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools whose work it does; see capacity.PoolDemand."""
        if self.kind == "cpu":
            return tuple(lane.value for lane in LANES_OF_ANY_MODEL)
        return () if self.model is None else (self.model,)


class WorkerRegistry(Protocol):
    """The running worker processes. An entry that is not refreshed expires."""

    def report(self, status: WorkerStatus, ttl_seconds: float) -> None: ...

    def remove(self, name: str) -> None: ...

    def all(self) -> Sequence[WorkerStatus]: ...
