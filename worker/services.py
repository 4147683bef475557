"""What every task works with: the ports, the settings, this process's name and its wish to stop. No logic."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

from core.service.ports import Clock, JobStore, Storage, TaskQueue, UploadStore
from core.service.settings import Settings


@dataclass(frozen=True)
class Services:
    """Ports of one worker process. `drain` is set when the process shall stop: work in hand is given back at once."""

    store: JobStore
    storage: Storage
    uploads: UploadStore
    queue: TaskQueue
    clock: Clock
    settings: Settings
    worker: str
    drain: threading.Event = field(default_factory=threading.Event)


class Activity(Protocol):
    """Who wants to know what the process is doing (status board, watchdog)."""

    def busy(self, job_id: str) -> None: ...

    def beat(self) -> None:
        """Something moved on: a denoising step, an upload try."""
        ...

    def waiting(self, reason: str) -> None:
        """Alive, and waiting for a server that fails."""
        ...

    def idle(self) -> None: ...


class NoActivity:
    """Nobody wants to know."""

    def busy(self, job_id: str) -> None: ...

    def beat(self) -> None: ...

    def waiting(self, reason: str) -> None: ...

    def idle(self) -> None: ...
