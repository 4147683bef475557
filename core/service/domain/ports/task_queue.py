"""The task queue port."""

from __future__ import annotations

from typing import Protocol

from core.service.domain.schema import Lane


class TaskQueue(Protocol):
    """Wakes workers. A message only says that there is work; the worker asks the job store for it.

    Does not raise if the broker is down: the janitor sends the message again.
    """

    def wake(self, lane: Lane, model: str, job_id: str) -> None:
        """Wake a worker for this lane. Only workers of an older version read `job_id`."""
        ...

    def deliver_webhooks(self) -> None: ...

    def janitor(self) -> None: ...
