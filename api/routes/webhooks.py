"""Endpoints of webhooks: a job's deliveries, sending one again, and pings."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.access.caller import CallerDep
from api.access.links import BaseUrl
from api.backends.ports import PortsDep, SettingsDep
from api.http.host_lookup import look_up
from api.http.openapi import PING_BODY, may_fail
from api.http.responses import JsonBody
from api.routes.answers import json_answer
from api.routes.jobs import JobId
from core.service.admission.admission import check_texts, webhook_secret_of, webhook_url_of
from core.service.admission.request_body import parse_body
from core.service.domain.schema import WebhookDelivery, WebhookDeliveryList, WebhookPing, WebhookPingRequest
from core.service.domain.webhook_deliveries import delivery_view, new_ping, ping_job_id, ping_not_found, ping_view
from core.service.net.address_guard import Resolve

router = APIRouter(tags=["webhooks"])
DeliveryId = Annotated[str, Path(description="Its webhook-id.", examples=["msg_k3mq5w7zr2ay4n6c5bqd_4_job_succeeded"])]


@router.get(
    "/jobs/{job_id}/webhook-deliveries",
    summary="List a job's webhooks, newest first",
    responses={200: {"model": WebhookDeliveryList}, **may_fail(404, 422, 503)},
)
def list_deliveries(
    job_id: JobId,
    ports: PortsDep,
    base_url: BaseUrl,
    limit: Annotated[int, Query(ge=1, le=100, description="Webhooks per page.")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
) -> Response:
    """Those that wait, and the newest 1,000 that have ended, each with all its attempts. `next_cursor` leads to the
    next page, as does `Link: rel="next"`."""
    ports.store.get(job_id)
    page = ports.deliveries.page(job_id, limit, cursor or None)
    headers = dict[str, str]()
    if page.next_cursor:
        query = urlencode({"limit": limit, "cursor": page.next_cursor})
        headers["Link"] = f'<{base_url.api}/jobs/{job_id}/webhook-deliveries?{query}>; rel="next"'
    shown = [delivery_view(delivery) for delivery in page.deliveries]
    answer = WebhookDeliveryList(deliveries=shown, next_cursor=page.next_cursor, dropped=page.dropped)
    return json_answer(answer.model_dump_json(), 200, headers)


@router.post(
    "/jobs/{job_id}/webhook-deliveries/{delivery_id}/redeliver",
    status_code=202,
    summary="Send a webhook again",
    responses={202: {"model": WebhookDelivery}, **may_fail(404, 409, 503)},
)
def redeliver(job_id: JobId, delivery_id: DeliveryId, ports: PortsDep) -> Response:
    """At once, with the same webhook-id and body. One that has ended, delivered ones included, gets one attempt; one
    that waits goes on with its schedule. Also turns the webhooks of a job on again after a 410."""
    ports.store.get(job_id)
    delivery = ports.deliveries.send_again(job_id, delivery_id, ports.clock.now())
    ports.queue.deliver_webhooks()
    return json_answer(delivery_view(delivery).model_dump_json(), 202, {})


def _ping_request(body: JsonBody) -> WebhookPingRequest:
    return parse_body(body, WebhookPingRequest)


WantedPing = Annotated[WebhookPingRequest, Depends(_ping_request)]


async def _resolved_hosts(wanted: WantedPing, request: Request, ports: PortsDep) -> Resolve:
    return await look_up([wanted], request, ports)


@router.post(
    "/webhooks/ping",
    status_code=202,
    summary="Send a test webhook",
    openapi_extra=PING_BODY,
    responses={202: {"model": WebhookPing}, **may_fail(400, 413, 415, 422, 429, 503)},
)
def ping(
    wanted: WantedPing,
    hosts: Annotated[Resolve, Depends(_resolved_hosts)],
    ports: PortsDep,
    settings: SettingsDep,
    base_url: BaseUrl,
    caller: CallerDep,
) -> Response:
    """An event `ping`, signed as the webhooks of your jobs are, or with `webhook_secret`. It has one attempt;
    `Location` tells its result."""
    check_texts("webhook_url", wanted.webhook_url)
    webhook_url_of(wanted.webhook_url, settings, hosts)
    secret = webhook_secret_of(wanted.webhook_secret, wanted.webhook_url)
    sent = new_ping(wanted.webhook_url, caller.owner, secret, ports.clock.now())
    ports.deliveries.add_ping(sent)
    ports.queue.deliver_webhooks()
    answer = ping_view(sent)
    headers = {"Location": f"{base_url.api}/webhooks/pings/{answer.id}", "Retry-After": "1"}
    return json_answer(answer.model_dump_json(), 202, headers)


@router.get(
    "/webhooks/pings/{ping_id}",
    summary="Read the result of a ping",
    responses={200: {"model": WebhookPing}, **may_fail(404, 503)},
)
def read_ping(
    ping_id: Annotated[str, Path(description="Id of the ping.", examples=["ping_k3mq5w7zr2ay4n6c5bqd"])],
    ports: PortsDep,
    caller: CallerDep,
) -> Response:
    """Its state and its attempt. It is kept for an hour."""
    found = ports.deliveries.ping(ping_job_id(ping_id))
    if not (caller.sees_all or found.owner == caller.owner):
        raise ping_not_found()
    return json_answer(ping_view(found).model_dump_json(), 200, {})
