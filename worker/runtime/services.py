"""What every task works with: the ports, the settings, this process's name and its wish to stop. No logic."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from core.service.domain.ports import Clock, JobStore, Storage, TaskQueue, UploadStore
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
        """A step is done: a denoising step, an upload try. How long steps take says what standing still is."""
        ...

    def waiting(self, reason: str) -> None:
        """Alive without a step: waits for a server, or fetches. Call it again and again, at least once a minute.

        Its time is no step's. `reason` is shown until the next step or task.
        """
        ...

    def loading(self, words: str) -> AbstractContextManager[None]:
        """Around work that may take minutes without a step: networks are loaded, a step is compiled.

        Its time is no step's, and it may take as long as a process's first step. `words` are shown meanwhile.
        """
        ...

    def idle(self) -> None: ...


class NoActivity:
    """Nobody wants to know."""

    def busy(self, job_id: str) -> None: ...

    def beat(self) -> None: ...

    def waiting(self, reason: str) -> None: ...

    def loading(self, words: str) -> AbstractContextManager[None]:
        del words
        return nullcontext()

    def idle(self) -> None: ...
