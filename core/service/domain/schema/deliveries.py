"""What clients read of webhooks: deliveries with their attempts, and pings."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from core.service.domain.schema.base import Frozen, Shown
from core.service.domain.schema.request import WebhookSecret

PING: Literal["ping"] = "ping"
"""Type of the event that a client asks for to try its receiver."""
DeliveryState = Literal["pending", "delivered", "failed", "disabled"]
_STATE = (
    "pending: it waits for an attempt. delivered: the receiver answered 2xx. failed: the last attempt failed."
    " disabled: the receiver answered 410 to it, or to an earlier one of the job."
)


class WebhookAttempt(Shown):
    """One attempt to deliver a webhook."""

    at: datetime
    status_code: int | None = Field(description="null: there was no answer, and `error` says why.", examples=[503])
    error: str | None = Field(examples=["no answer within 15 s"])
    duration_seconds: float = Field(examples=[0.12])


class WebhookDelivery(Shown):
    """A webhook of a job, and what became of it."""

    id: str = Field(description="The webhook-id header of every attempt.", examples=["msg_k3mq5w_4_job_succeeded"])
    event: str = Field(examples=["job.succeeded"])
    url: str = Field(examples=["https://example.com/hooks/longtake"])
    state: DeliveryState = Field(description=_STATE)
    attempts: list[WebhookAttempt] = Field(description="Oldest first.")
    created_at: datetime
    next_attempt_at: datetime | None = Field(
        description="Not before then; it also waits for earlier webhooks of its job. null: there will be none."
    )


class WebhookDeliveryList(Shown):
    """A page of a job's webhooks, newest first."""

    deliveries: list[WebhookDelivery]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")
    dropped: int = Field(
        description="Webhooks of chunks that were given up unsent, as more than 1,000 of the job waited."
    )


class WebhookPingRequest(Frozen):
    """Body of POST /webhooks/ping."""

    webhook_url: Annotated[str, StringConstraints(max_length=2000)] = Field(
        description="Receives the ping.", examples=["https://example.com/hooks/longtake"]
    )
    webhook_secret: WebhookSecret | None = Field(
        default=None, repr=False, description="Signs the ping, in place of the secrets that sign your webhooks."
    )


class WebhookPing(Shown):
    """A ping and its result, which is kept for an hour."""

    id: str = Field(examples=["ping_k3mq5w7zr2ay4n6c5bqd"])
    url: str = Field(examples=["https://example.com/hooks/longtake"])
    state: DeliveryState = Field(description="A ping has one attempt: pending, delivered, failed, or disabled (410).")
    attempts: list[WebhookAttempt]
    created_at: datetime
