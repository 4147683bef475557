"""Looks up the host names in a request before a thread takes the request on: waiting for a name server costs no thread,
so clients whose names take long keep no other route waiting. A body that is no request costs no look-up. Judges
nothing: who needs the addresses checks them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request

from api.backends.ports import PortsOfApp
from api.http.responses import JsonBody
from core.service.admission.request_body import parse_request
from core.service.domain.addresses import client_network
from core.service.domain.schema import JobRequest
from core.service.net.address_guard import Resolve, host_and_port
from core.service.net.resolver import BoundedResolver

URL_FIELDS = ("webhook_url", "image", "video")

Place = tuple[str, int]


def _job_request(body: JsonBody) -> JobRequest:
    return parse_request(body)


RequestOfBody = Annotated[JobRequest, Depends(_job_request)]
"""The job that a body asks for."""


async def _names_of_body(wanted: RequestOfBody, request: Request, ports: PortsOfApp) -> Resolve:
    """Tells what the look-ups gave, or raises what they raised."""
    places = sorted(_places(wanted))
    client = client_network(request.client.host if request.client else "")
    asked = [_ask(ports.resolve, place, client) for place in places]
    found = dict(zip(places, await asyncio.gather(*asked), strict=True))

    def resolve(host: str, port: int) -> Sequence[str]:
        outcome = found.get((host, port))
        if isinstance(outcome, Exception):
            raise outcome
        return ports.resolve(host, port) if outcome is None else outcome

    return resolve


NamesOfBody = Annotated[Resolve, Depends(_names_of_body)]


def _places(wanted: JobRequest) -> set[Place]:
    """Hosts and ports of the URLs in a job request."""
    texts = (getattr(wanted, name) for name in URL_FIELDS)
    return {place for text in texts if text is not None and (place := host_and_port(text)) is not None}


async def _ask(resolver: BoundedResolver, place: Place, client: str) -> Sequence[str] | Exception:
    try:
        return await resolver.ask(*place, client=client)
    except Exception as error:  # told to whoever asks for this name
        return error
