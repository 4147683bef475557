"""Webhook deliveries as clients see them, pings, and sending one again."""

from __future__ import annotations

import math
import re
from datetime import datetime

from core.service.domain.errors import (
    DeliveryConflict,
    DeliveryNotFound,
    InvalidField,
    LimitReached,
    PingNotFound,
    shortened,
)
from core.service.domain.ids import new_ping_id
from core.service.domain.ports import Delivery, DeliveryAttempt
from core.service.domain.ports.deliveries import MAX_PINGS
from core.service.domain.ports.outbox import PING_JOB_PREFIX, place_of
from core.service.domain.schema import PING, WebhookAttempt, WebhookDelivery, WebhookPing
from core.service.domain.webhooks import ping_payload

_ID = re.compile(r"msg_[\w-]+", re.ASCII)


def delivery_view(delivery: Delivery) -> WebhookDelivery:
    """A delivery as its client sees it: without body and secrets."""
    return WebhookDelivery(
        id=delivery.id,
        event=str(delivery.event_type),
        url=delivery.url,
        state=delivery.state,
        attempts=[_attempt_view(attempt) for attempt in delivery.attempts],
        created_at=delivery.created_at,
        next_attempt_at=delivery.next_attempt_at,
    )


def ping_view(ping: Delivery) -> WebhookPing:
    """What clients read of a ping."""
    return WebhookPing(
        id=ping.job_id.removeprefix(PING_JOB_PREFIX),
        url=ping.url,
        state=ping.state,
        attempts=[_attempt_view(attempt) for attempt in ping.attempts],
        created_at=ping.created_at,
    )


def _attempt_view(attempt: DeliveryAttempt) -> WebhookAttempt:
    return WebhookAttempt(
        at=attempt.at,
        status_code=attempt.status_code,
        error=attempt.error,
        duration_seconds=attempt.duration_seconds,
    )


def new_ping(url: str, owner: str | None, secret: str | None, at: datetime) -> Delivery:
    """A ping to `url`, signed with `secret` or else with those that sign the webhooks of `owner`."""
    ping_id = new_ping_id()
    return Delivery(
        id=f"msg_{ping_id}",
        job_id=ping_job_id(ping_id),
        event_type=PING,
        url=url,
        body=ping_payload(ping_id, at),
        owner=owner,
        secret=secret,
        once=True,
        created_at=at,
        next_attempt_at=at,
    )


def ping_job_id(ping_id: str) -> str:
    """`job_id` of a ping's delivery."""
    return PING_JOB_PREFIX + ping_id


def due_again(delivery: Delivery, at: datetime) -> Delivery:
    """The delivery due at `at`. One that has ended gets one attempt; one that waits goes on with its schedule."""
    ended = delivery.state != "pending"
    return delivery.model_copy(update={"state": "pending", "once": ended or delivery.once, "next_attempt_at": at})


def place_in(cursor: str) -> tuple[int, str]:
    """The place after which a page begins. Raises InvalidField."""
    if not _ID.fullmatch(cursor):
        raise InvalidField("cursor is not one of ours", field="cursor", fix="use next_cursor of the page before")
    return place_of(cursor)


def delivery_not_found(delivery_id: str) -> DeliveryNotFound:
    """404, for an id that was never one and for one that is not kept any more."""
    fix = "GET /jobs/{job_id}/webhook-deliveries lists those that are kept"
    return DeliveryNotFound(f"the job has no webhook delivery {shortened(delivery_id, 64)}", fix=fix)


def being_sent() -> DeliveryConflict:
    """409: the order of the webhooks of a job must be kept."""
    return DeliveryConflict("a webhook of the job is being sent", fix="try again when its attempt has ended")


def waits_behind(delivery_id: str) -> DeliveryConflict:
    """409: `delivery_id` is the one to send first."""
    message = f"webhooks of a job are sent in order, and {delivery_id} comes before this one"
    return DeliveryConflict(message, fix=f"redeliver {delivery_id} first")


def ping_not_found() -> PingNotFound:
    """404, for an id that was never one and for one that is not kept any more."""
    return PingNotFound(fix="send another one: POST /webhooks/ping")


def too_many_pings(seconds: float) -> LimitReached:
    """`seconds`: until one of those that are kept is not."""
    message = f"{MAX_PINGS} pings are kept already, each for an hour"
    return LimitReached(message, fix="try again later", retry_seconds=max(1, math.ceil(seconds)))
