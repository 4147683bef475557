"""Looks up the host names in a request before a thread takes the request on: waiting for a name server costs no thread,
so clients whose names take long keep no other route waiting. Judges nothing: who needs the addresses checks them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, cast

from fastapi import Depends

from api.answers import JsonBody
from api.ports import PortsOfApp
from core.service.address_guard import Resolve, host_and_port
from core.service.resolver import BoundedResolver

URL_FIELDS = ("webhook_url", "image", "video")

Place = tuple[str, int]


async def _names_of_body(body: JsonBody, ports: PortsOfApp) -> Resolve:
    """Tells what the look-ups gave, or raises what they raised."""
    places = sorted(_places(body))
    asked = [_ask(ports.resolve, place) for place in places]
    found = dict(zip(places, await asyncio.gather(*asked), strict=True))

    def resolve(host: str, port: int) -> Sequence[str]:
        outcome = found.get((host, port))
        if isinstance(outcome, Exception):
            raise outcome
        return ports.resolve(host, port) if outcome is None else outcome

    return resolve


NamesOfBody = Annotated[Resolve, Depends(_names_of_body)]


def _places(body: object) -> set[Place]:
    """Hosts and ports of the URLs in a job request, whatever else it is."""
    fields = cast("Mapping[str, object]", body) if isinstance(body, Mapping) else {}
    texts = (fields.get(name) for name in URL_FIELDS)
    return {place for text in texts if isinstance(text, str) and (place := host_and_port(text)) is not None}


async def _ask(resolver: BoundedResolver, place: Place) -> Sequence[str] | Exception:
    try:
        return await resolver.ask(*place)
    except Exception as error:  # told to whoever asks for this name
        return error
