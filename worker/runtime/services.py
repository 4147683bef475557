"""What every task uses: the ports, the settings, the process's name and its drain flag. No logic."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from core.service.domain.ports import Clock, JobStore, Pauses, Speeds, Storage, TaskQueue, UploadStore
from core.service.settings import Settings


@dataclass(frozen=True)
class Services:
    """Ports of one worker process, `worker` its name. `drain` is set when it must stop: leases are released at once."""

    store: JobStore
    storage: Storage
    uploads: UploadStore
    queue: TaskQueue
    clock: Clock
    settings: Settings
    worker: str
    speeds: Speeds
    pauses: Pauses
    drain: threading.Event = field(default_factory=threading.Event)


class Activity(Protocol):
    """Listener to what the process is doing: status board and watchdog."""

    def busy(self, job_id: str) -> None: ...

    def beat(self, *, while_waiting: bool = False) -> None:
        """A step is done: a denoising step, an upload attempt. The watchdog measures the time between steps.

        `while_waiting`: another thread may wait for a server meanwhile, and its reason stays the process's status.
        """
        ...

    def alive(self) -> None:
        """Alive without a step: another piece begins. The time is not counted as a step's."""
        ...

    def waiting(self, reason: str) -> None:
        """Alive without a step: waiting for a server, or fetching. Call it at least once a minute.

        The time is not counted as a step's. `reason` is the process's status until the next step or task.
        """
        ...

    def beside(self) -> AbstractContextManager[None]:
        """Context of work beside the task's, and of the threads that it starts. Its waits are no sign that the task
        itself is alive."""
        ...

    def waiting_for_beside(self) -> None:
        """The task now waits for the work beside it: that one's signs are the task's. Call it again and again."""
        ...

    def loading(self, description: str) -> AbstractContextManager[None]:
        """Context of work that may take minutes without a step: loading networks, compiling a step.

        The time is not counted as a step's. `description` is the process's status meanwhile.
        """
        ...

    def idle(self) -> None: ...


class NoActivity:
    """Ignores everything."""

    def busy(self, job_id: str) -> None: ...

    def beat(self, *, while_waiting: bool = False) -> None: ...

    def alive(self) -> None: ...

    def waiting(self, reason: str) -> None: ...

    def beside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def waiting_for_beside(self) -> None: ...

    def loading(self, description: str) -> AbstractContextManager[None]:
        del description
        return nullcontext()

    def idle(self) -> None: ...
