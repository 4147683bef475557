"""Resolves the host names in a job request on the event loop, before a thread handles the request.

Waiting for a slow name server then takes no thread from other routes. An invalid body causes no look-up. The addresses
are checked where they are used, not here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request

from api.backends.ports import Ports, PortsDep
from api.http.client_limits import client_of
from api.http.responses import JsonBody
from core.service.admission.request_body import parse_request
from core.service.domain.schema import JobBranch, JobRequest, WebhookPingRequest
from core.service.net.address_guard import Resolve, host_and_port
from core.service.net.resolver import BoundedResolver

URL_FIELDS = ("webhook_url", "image", "video")

HostAndPort = tuple[str, int]
WithUrls = JobRequest | JobBranch | WebhookPingRequest


def _job_request(body: JsonBody) -> JobRequest:  # no coroutine: FastAPI runs it in a thread
    return parse_request(body)


RequestedJob = Annotated[JobRequest, Depends(_job_request)]
"""The validated request of the body."""


async def _resolved_hosts(wanted: RequestedJob, request: Request, ports: PortsDep) -> Resolve:
    return await look_up([wanted], request, ports)


async def look_up(wanted: Sequence[WithUrls], request: Request, ports: Ports) -> Resolve:
    """A resolver of the hosts in these requests that returns, or raises, what the look-ups gave."""
    hosts = sorted({host for each in wanted for host in _hosts_of(each)})
    client = client_of(request.scope)
    lookups = [_ask(ports.resolve, host, client) for host in hosts]
    found = dict(zip(hosts, await asyncio.gather(*lookups), strict=True))

    def resolve(host: str, port: int) -> Sequence[str]:
        outcome = found.get((host, port))
        if isinstance(outcome, Exception):
            raise outcome
        return ports.resolve(host, port) if outcome is None else outcome

    return resolve


ResolvedHosts = Annotated[Resolve, Depends(_resolved_hosts)]


def _hosts_of(wanted: WithUrls) -> set[HostAndPort]:
    """The hosts of the URLs in a job request."""
    texts = [getattr(wanted, name, None) for name in URL_FIELDS]
    if isinstance(wanted, JobRequest) and wanted.control is not None:
        texts.append(wanted.control.video)
    return {host for text in texts if text is not None and (host := host_and_port(text)) is not None}


async def _ask(resolver: BoundedResolver, host: HostAndPort, client: str) -> Sequence[str] | Exception:
    try:
        return await resolver.ask(*host, client=client)
    except Exception as error:  # raised by the resolver when this host is used
        return error
