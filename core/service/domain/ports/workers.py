"""The worker registry port."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from pydantic import Field

from core.service.domain.schema import LANES_OF_ANY_MODEL, Lane, Stored
from core.service.domain.worker_kinds import WorkerKind, WorkerState, serves

DeviceKind = Literal["cpu", "cuda"]

_PROCESS_ID = re.compile(r"-\d+(?=@)")


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
    media_threads: int = Field(default=0, description="Threads that each prepare a job; see media_thread_names.")

    @property
    def is_ready(self) -> bool:
        """Whether it works, or would."""
        return self.state in {"ready", "busy"}

    @property
    def device_kind(self) -> DeviceKind | None:
        """What computes; None while that is not known, because nothing is loaded yet."""
        if not self.is_ready:
            return None
        return "cpu" if self.device == "cpu" else "cuda"

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools whose work it does; see capacity.PoolDemand."""
        if self.kind == "cpu":
            return tuple(lane.value for lane in LANES_OF_ANY_MODEL)
        return () if self.model is None else (self.model,)

    def serves(self, lane: Lane, model: str) -> bool:
        """Whether it works on this lane of this model ("" for lanes of all models)."""
        return serves(self.kind, lane) and (not model or model == self.model)


def media_thread_names(process: str, count: int) -> list[str]:
    """Names of the threads of a CPU worker that prepare input media, each with a lease of its own."""
    return [f"{process}/{number}" for number in range(count)]


def measuring_name(process: str) -> str:
    """Name of the thread of a CPU worker that measures videos, with a lease of its own."""
    return f"{process}/measure"


def names_of(process: str) -> tuple[str, ...]:
    """The names by which a worker process is paused: without its process id, and its own."""
    return tuple(dict.fromkeys((_PROCESS_ID.sub("", process), process)))


class WorkerRegistry(Protocol):
    """The running worker processes. An entry that is not refreshed expires."""

    def report(self, status: WorkerStatus, ttl_seconds: float) -> None: ...

    def remove(self, name: str) -> None: ...

    def all(self) -> Sequence[WorkerStatus]: ...
