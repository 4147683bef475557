"""The task queue port."""

from __future__ import annotations

from typing import Protocol

from core.service.domain.schema import Lane


class TaskQueue(Protocol):
    """Wakes workers. A message says that there is something to do; what, the worker asks the store.

    Never raises for a broker that is away: the janitor wakes again whoever is needed.
    """

    def wake(self, lane: Lane, model: str, job_id: str) -> None:
        """Let a worker look for work on this lane. The job is named for workers of an older version only."""
        ...

    def deliver_webhooks(self) -> None: ...

    def janitor(self) -> None: ...
