"""The port of pauses: what workers must not begin, for maintenance."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from core.service.domain.ports.workers import names_of


class PauseTarget(NamedTuple):
    """What a pause holds: one model's generation and refinement, one worker process, or, with neither, everything.

    `worker`: a process's name such as `sprites-0-4711@gpu-1`, or that name without the process id (`sprites-0@gpu-1`),
    which the process that is started after it also has.
    """

    model: str | None = None
    worker: str | None = None

    def __str__(self) -> str:
        if self.worker is not None:
            return f"worker {self.worker}"
        return "everything" if self.model is None else f"model {self.model}"


EVERYTHING = PauseTarget()


def targets_of(model: str, worker: str) -> tuple[PauseTarget, ...]:
    """The pauses that hold this worker's work on this model ("" for lanes of all models), the widest first."""
    process = worker.partition("/")[0]  # its threads have a number after it
    of_model = (PauseTarget(model=model),) if model else ()
    return (EVERYTHING, *of_model, *(PauseTarget(worker=name) for name in names_of(process)))


def holds_pool(paused: Collection[PauseTarget], pool: str) -> bool:
    """Whether these pauses hold all work of a pool: a model, or a lane of the CPU workers. Then it needs no worker."""
    return EVERYTHING in paused or PauseTarget(model=pool) in paused


def widest(paused: Collection[PauseTarget], model: str, worker: str) -> PauseTarget | None:
    """The widest of these pauses that holds this worker's work on this model, if any."""
    return next((target for target in targets_of(model, worker) if target in paused), None)


class Pauses(Protocol):
    """What is paused. Kept until it is resumed or the store is lost."""

    def of(self, model: str, worker: str) -> PauseTarget | None:
        """The widest pause that holds this worker's work on this model ("" for lanes of all models), if any. Raises
        StoreError."""
        ...

    def all(self) -> Mapping[PauseTarget, datetime]:
        """What is paused, and since when. Raises StoreError."""
        ...

    def pause(self, target: PauseTarget, now: datetime) -> None:
        """A pause that is there keeps its time. Raises StoreError."""
        ...

    def resume(self, target: PauseTarget) -> bool:
        """Whether it was paused. Raises StoreError."""
        ...
