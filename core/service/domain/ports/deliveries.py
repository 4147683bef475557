"""The port of what clients see of their webhooks and do with them. The sender's port is Outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.service.domain.ports.outbox import Delivery

PING_KEPT_SECONDS = 3600
MAX_PINGS = 100
"""Pings of one owner that are kept at a time."""


@dataclass(frozen=True)
class DeliveryPage:
    """Deliveries of a job, newest first. `dropped`: how many of the job were given up unsent."""

    deliveries: Sequence[Delivery]
    next_cursor: str | None
    dropped: int


class Deliveries(Protocol):
    """Webhooks of jobs, and pings. Raises StoreError."""

    def page(self, job_id: str, limit: int, cursor: str | None = None) -> DeliveryPage:
        """At most `limit` deliveries, from the newest or from `cursor` on. Raises InvalidField for another cursor."""
        ...

    def send_again(self, job_id: str, delivery_id: str, at: datetime) -> Delivery:
        """Make the delivery due now, which is `at`, under its id. One that has ended gets one attempt, and goes before
        those that wait; after a refusal (410) the webhooks of the job are sent again. Raises DeliveryNotFound, and
        DeliveryConflict while a webhook of the job is being sent and for one behind another that waits."""
        ...

    def add_ping(self, ping: Delivery) -> None:
        """Keep a ping for PING_KEPT_SECONDS and make it due. Raises LimitReached if its owner has MAX_PINGS."""
        ...

    def ping(self, job_id: str) -> Delivery:
        """The ping with this `job_id`. Raises PingNotFound."""
        ...
