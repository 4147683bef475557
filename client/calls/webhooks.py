"""Calls about webhooks: what became of them, and a test of a receiver."""

from __future__ import annotations

from client.calls.call import Call, given, reads
from client.models import Delivery, DeliveryList, Ping


def deliveries(job_id: str, limit: int, cursor: str | None) -> Call[DeliveryList]:
    query = given(limit=limit, cursor=cursor)
    return Call("GET", f"/jobs/{job_id}/webhook-deliveries", reads(DeliveryList), {"params": query})


def redeliver(job_id: str, delivery_id: str) -> Call[Delivery]:
    return Call("POST", f"/jobs/{job_id}/webhook-deliveries/{delivery_id}/redeliver", reads(Delivery))


def ping(webhook_url: str, webhook_secret: str | None) -> Call[Ping]:
    body = given(webhook_url=webhook_url, webhook_secret=webhook_secret)
    return Call("POST", "/webhooks/ping", reads(Ping), {"json": body})


def ping_result(ping_id: str) -> Call[Ping]:
    return Call("GET", f"/webhooks/pings/{ping_id}", reads(Ping))
