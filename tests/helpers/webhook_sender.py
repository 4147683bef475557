"""A webhook sender without a thread: delivers what is due and returns."""

from __future__ import annotations

import asyncio
from typing import Any

from core.service.domain.ports import ApiKeys, Clock, Delivery, DeliveryAttempt, JobStore, Outbox
from core.service.settings import Settings
from core.service.testing.api_keys import FakeApiKeys
from worker.webhooks.delivery_loop import DeliveryLoop
from worker.webhooks.post import Answer
from worker.webhooks.sender import WebhookSender


class OneShotSender(WebhookSender):
    """`keys`: none exist unless given."""

    def __init__(
        self,
        outbox: Outbox,
        store: JobStore,
        clock: Clock,
        settings: Settings,
        keys: ApiKeys | None = None,
        **more: Any,
    ) -> None:
        super().__init__(outbox, store, clock, settings, keys or FakeApiKeys(), **more)

    def deliver_due(self) -> int:
        """Deliver until nothing is due or in progress. Returns the number of tries."""
        loop = _UntilIdle(*self._loop_arguments)
        asyncio.run(loop.run())
        return loop.num_tries


class _UntilIdle(DeliveryLoop):
    num_tries = 0

    async def _wait(self) -> None:
        if self._held:
            await super()._wait()
        else:
            self.stop()

    async def _record(self, delivery: Delivery, attempt: DeliveryAttempt, answer: Answer) -> None:
        self.num_tries += 1
        await super()._record(delivery, attempt, answer)
