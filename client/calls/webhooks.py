"""Calls about webhooks: what became of them, and a test of a receiver."""

from __future__ import annotations

from client.calls.call import Call, given, reads
from core.service.domain.schema import WebhookDelivery, WebhookDeliveryList, WebhookPing


def deliveries(job_id: str, limit: int, cursor: str | None) -> Call[WebhookDeliveryList]:
    """GET .../webhook-deliveries: a page of at most `limit` of the job's webhooks, newest first, from `cursor` on."""
    query = given(limit=limit, cursor=cursor)
    return Call("GET", f"/jobs/{job_id}/webhook-deliveries", reads(WebhookDeliveryList), {"params": query})


def redeliver(job_id: str, delivery_id: str) -> Call[WebhookDelivery]:
    """POST .../redeliver: send a webhook again at once, under the same id."""
    return Call("POST", f"/jobs/{job_id}/webhook-deliveries/{delivery_id}/redeliver", reads(WebhookDelivery))


def ping(webhook_url: str, webhook_secret: str | None) -> Call[WebhookPing]:
    """POST /webhooks/ping: try a receiver. Without `webhook_secret` the secrets of the caller sign."""
    body = given(webhook_url=webhook_url, webhook_secret=webhook_secret)
    return Call("POST", "/webhooks/ping", reads(WebhookPing), {"json": body})


def ping_result(ping_id: str) -> Call[WebhookPing]:
    """GET /webhooks/pings/{ping_id}: what the receiver answered, for an hour."""
    return Call("GET", f"/webhooks/pings/{ping_id}", reads(WebhookPing))
