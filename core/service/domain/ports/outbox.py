"""The webhook outbox port."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from pydantic import Field

from core.service.domain.schema import EventType, Stored


class DeliveryAttempt(Stored):
    """One attempt to deliver a webhook. `status_code` is None if there was no answer."""

    at: datetime
    status_code: int | None
    error: str | None
    duration_seconds: float


class Delivery(Stored):
    """A webhook to deliver, written in the transaction it reports. `id` is the webhook-id header of every attempt."""

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
        """Sort key among the job's deliveries: the version of the commit, then the time."""
        version = re.search(r"_(\d+)_[a-z_]+$", self.id)
        return int(version[1]) if version else 0, self.created_at


class Outbox(Protocol):
    """Webhooks to be delivered. The job store adds them, inside its transactions."""

    def take_due(self, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        """Due deliveries, of each job only the first pending one. Each is hidden from other senders for `hold_seconds`;
        those of a killed sender become due again then. After a disabled delivery the rest of its job is disabled."""
        ...

    def hold(self, deliveries: Sequence[Delivery], seconds: float) -> Sequence[Delivery]:
        """Hide these for `seconds` more. Returns those still held; another sender may hold the others."""
        ...

    def give_back(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        """Make these due in `delay_seconds` without counting an attempt. Ignores those whose hold was lost."""
        ...

    def record(self, delivery: Delivery, delay_seconds: float = 0.0) -> int:
        """Store the outcome of an attempt. A pending delivery is due again in `delay_seconds`; after an ended one the
        next of its job is due. No-op for a purged job, an ended delivery, and a failed attempt whose hold was lost.
        Returns how many deliveries of the job have ended before its first pending one. Of these the newest
        webhooks.KEPT_DELIVERIES are kept."""
        ...

    def of_job(self, job_id: str) -> Sequence[Delivery]: ...
