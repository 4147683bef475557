"""The webhook outbox port."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from pydantic import Field

from core.service.domain.schema import EventType, Stored


class DeliveryAttempt(Stored):
    """One try to deliver a webhook. `status_code` is None where no answer came."""

    at: datetime
    status_code: int | None
    error: str | None
    duration_seconds: float


class Delivery(Stored):
    """A webhook to deliver: written with the state change it tells of. `id` is the webhook-id header on every try."""

    id: str
    job_id: str
    event_type: EventType
    url: str
    body: str = Field(description="The exact JSON text that is signed and sent.")
    state: Literal["pending", "delivered", "failed", "disabled"] = "pending"
    attempts: tuple[DeliveryAttempt, ...] = ()
    created_at: datetime
    next_attempt_at: datetime | None

    @property
    def order(self) -> tuple[int, datetime]:
        """Its place among the job's deliveries: that of the commit, by the version that it left."""
        version = re.search(r"_(\d+)_[a-z_]+$", self.id)
        return int(version[1]) if version else 0, self.created_at


class Outbox(Protocol):
    """Webhooks waiting to be delivered. Rows are added by the store, inside its transaction."""

    def take_due(self, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        """Deliveries that are due, of each job only the first one that is pending. Each is hidden from other takers for
        `hold_seconds`: those of a sender that is killed come back then. Behind a disabled one the rest is disabled."""
        ...

    def hold(self, deliveries: Sequence[Delivery], seconds: float) -> Sequence[Delivery]:
        """Hide these for so much longer. Those that are still held: of the others somebody else may have taken hold."""
        ...

    def give_back(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        """Let these be taken again in so many seconds, without a try. Those whose hold was lost stay as they are."""
        ...

    def record(self, delivery: Delivery, delay_seconds: float = 0.0) -> int:
        """Store the outcome of an attempt; a pending one is due again in `delay_seconds`, one that has ended lets the
        next of its job be taken. No-op for a purged job, for a delivery that has ended, and for a failed try of one
        that somebody else holds by now. Returns how many of the job have ended before its first pending one."""
        ...

    def of_job(self, job_id: str) -> Sequence[Delivery]: ...
