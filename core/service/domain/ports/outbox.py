"""The webhook outbox port."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Literal, Protocol

from pydantic import Field

from core.service.domain.schema import PING, DeliveryState, EventType, Stored

PING_JOB_PREFIX = "~"
"""Begins the `job_id` of a ping, which belongs to no job. No job's id begins so."""


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
    event_type: EventType | Literal["ping"]
    url: str
    body: str = Field(description="The exact JSON text that is signed and sent.")
    owner: str | None = Field(
        default=None, description="Id of the API key whose secrets sign it; None: the deployment's sign it."
    )
    secret: str | None = Field(
        default=None, repr=False, description="whsec_... secret that the request gave, which signs alone."
    )
    state: DeliveryState = "pending"
    once: bool = Field(default=False, description="The next attempt is the only one: a ping, or one to be sent again.")
    attempts: tuple[DeliveryAttempt, ...] = ()
    trace: str | None = Field(default=None, description="JobRecord.trace of its job.")
    created_at: datetime
    next_attempt_at: datetime | None

    @property
    def order(self) -> tuple[int, datetime]:
        """Sort key among the job's deliveries: the version of the commit, then the time."""
        return place_of(self.id)[0], self.created_at

    @property
    def is_ping(self) -> bool:
        return self.event_type == PING

    @property
    def was_delivered(self) -> bool:
        """Whether an attempt was answered with 2xx."""
        return any(200 <= (attempt.status_code or 0) < 300 for attempt in self.attempts)

    @property
    def turns_off(self) -> bool:
        """Whether the receiver wants no webhooks of the job any more: it answered 410."""
        is_gone = bool(self.attempts) and self.attempts[-1].status_code == HTTPStatus.GONE
        return self.state == "disabled" or is_gone

    @property
    def turned_off(self) -> Delivery:
        """The delivery, ended because its job's webhooks are off. One that was delivered once stays so."""
        state: DeliveryState = "delivered" if self.was_delivered else "disabled"
        return self.model_copy(update={"state": state, "next_attempt_at": None})


def place_of(delivery_id: str) -> tuple[int, str]:
    """Sort key of a delivery by its id: the version of the commit (0 for a ping), then the id."""
    version = re.search(r"_(\d+)_[a-z_]+$", delivery_id, re.ASCII)
    return int(version[1]) if version else 0, delivery_id


class Outbox(Protocol):
    """Webhooks to be delivered. The job store adds them, inside its transactions."""

    def take_due(self, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        """Due deliveries, of each job only the first pending one. Each is hidden from other senders for `hold_seconds`;
        those of a killed sender become due again then. After one that turns_off its job the others are turned_off."""
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
