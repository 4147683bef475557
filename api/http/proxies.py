"""What trusted proxies say of a request: scheme, host, path prefix and client (X-Forwarded-*, RFC 7239 Forwarded).

From anybody else these headers are ignored. Routes then see the request as the client sent it to the proxy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from core.service.domain.addresses import Authority, Network, address_of, items_of
from core.service.domain.url_ports import DEFAULT_PORTS

X_FORWARDED = ("for", "proto", "host", "port", "prefix")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+", re.ASCII)
_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"([^"\\]*)"|([^\s;,"]*))\s*')


class TrustedProxies:
    """ASGI middleware: puts what a trusted proxy tells into the scope."""

    def __init__(self, app: ASGIApp, networks: Sequence[Network]) -> None:
        self._app = app
        self._networks = tuple(networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._networks and self._trusts((scope.get("client") or [""])[0]):
            _put(scope, Told.of(Headers(scope=scope), self._trusts))
        await self._app(scope, receive, send)

    def _trusts(self, host: str) -> bool:
        address = address_of(host)
        return address is not None and any(ip_address(address) in network for network in self._networks)


@dataclass(frozen=True)
class Told:
    """What the proxies say; None where they say nothing, or nothing that can be."""

    client: str | None = None
    scheme: str | None = None
    authority: Authority | None = None
    port: int | None = None
    prefix: str | None = None

    @classmethod
    def of(cls, headers: Headers, trusts: Callable[[str], bool]) -> Told:
        """From X-Forwarded-* where there is any of them, else from Forwarded: a proxy sets one kind, and the other
        may be the client's own."""
        lists = {name: _values(headers, f"x-forwarded-{name}") for name in X_FORWARDED}
        if any(lists.values()):
            client, hops = _client(lists["for"], trusts)
            told = {name: values[-min(hops, len(values))] for name, values in lists.items() if values}
        else:
            elements = [_pairs(element) for element in _values(headers, "forwarded")]
            client, hops = _client([element.get("for", "") for element in elements], trusts)
            told = elements[-min(hops, len(elements))] if elements else {}
        return cls(client, _scheme(told), _authority(told), _port(told), _prefix(told))


def _client(hops: Sequence[str], trusts: Callable[[str], bool]) -> tuple[str | None, int]:
    """Whom the outermost trusted proxy was asked by, and which entry from the end is that proxy's, counted from 1."""
    client, nearest = None, 1
    for hop in reversed(hops):
        client = address_of(hop)
        if client is None or not trusts(client):
            break
        nearest += 1
    return client, nearest


def _values(headers: Headers, name: str) -> list[str]:
    return [value for line in headers.getlist(name) for value in items_of(line)]


def _pairs(element: str) -> dict[str, str]:
    """What one proxy says (RFC 7239, 4: an element for each, the nearest one last)."""
    found = [match for part in element.split(";") if (match := _PAIR.fullmatch(part))]
    return {match[1].lower(): match[2] if match[2] is not None else match[3] for match in found}


def _scheme(told: Mapping[str, str]) -> str | None:
    scheme = told.get("proto", "").lower()
    return scheme if scheme in DEFAULT_PORTS else None


def _authority(told: Mapping[str, str]) -> Authority | None:
    return Authority.parse(told["host"]) if "host" in told else None


def _port(told: Mapping[str, str]) -> int | None:
    text = told.get("port", "")
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 5 and 0 < int(text) < 65536 else None


def _prefix(told: Mapping[str, str]) -> str | None:
    text = told.get("prefix", "").rstrip("/")
    return text if len(text) <= 200 and _PREFIX.fullmatch(text) else None


def _put(scope: Scope, told: Told) -> None:
    """Make the request what the client sent, in place, so that the server's access log has it as well. A prefix is what
    the proxy has taken off the path."""
    scheme = told.scheme or scope["scheme"]
    host = _host(told, scheme, Headers(scope=scope).get("host"))
    scope.update(scheme=scheme, headers=list(scope["headers"]))
    if told.client:
        scope["client"] = (told.client, 0)
    if told.prefix:
        scope.update(root_path=told.prefix, path=told.prefix + scope["path"])
    if host is not None:
        MutableHeaders(scope=scope)["host"] = host


def _host(told: Told, scheme: str, own: str | None) -> str | None:
    """The Host header that the client sent; None where the proxy does not change it."""
    authority = told.authority or (Authority.parse(own) if own and told.port else None)
    if authority is None:
        return None
    port = told.port if told.port and (authority.port is None or not told.authority) else authority.port
    return str(Authority(authority.host, None if port == DEFAULT_PORTS[scheme] else port))
