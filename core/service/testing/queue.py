"""ports.TaskQueue in memory."""

from __future__ import annotations

from dataclasses import dataclass

from core.service.domain.schema import Lane
from core.service.redis import queue


@dataclass(frozen=True)
class SentMessage:
    """A message in FakeTaskQueue."""

    task: str
    queue: str
    job_id: str | None = None


class FakeTaskQueue:
    """ports.TaskQueue with its messages in `messages`; like the real one, a queue holds at most one message."""

    def __init__(self) -> None:
        self.messages: list[SentMessage] = []

    def wake(self, lane: Lane, model: str, job_id: str) -> None:
        self._send(SentMessage(queue.TASK_OF_LANE[lane], queue.queue_of_lane(lane, model), job_id))

    def deliver_webhooks(self) -> None:
        self._send(SentMessage(queue.TASK_DELIVER_WEBHOOKS, queue.WEBHOOKS_QUEUE))

    def janitor(self) -> None:
        self._send(SentMessage(queue.TASK_JANITOR, queue.JANITOR_QUEUE))

    def take(self) -> SentMessage | None:
        """The oldest message, as a worker would get it."""
        return self.messages.pop(0) if self.messages else None

    def _send(self, message: SentMessage) -> None:
        if all(message.queue != waiting.queue for waiting in self.messages):
            self.messages.append(message)
