"""Applies the headers of trusted proxies: scheme, host, path prefix, client (X-Forwarded-*, RFC 7239 Forwarded).

Routes then see the request as the client sent it to the proxy. From other peers these headers are ignored.
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
    """ASGI middleware: updates the scope from a trusted proxy's headers."""

    def __init__(self, app: ASGIApp, networks: Sequence[Network]) -> None:
        self._app = app
        self._networks = tuple(networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._networks and self._trusts((scope.get("client") or [""])[0]):
            _apply(scope, Forwarded.of(Headers(scope=scope), self._trusts))
        await self._app(scope, receive, send)

    def _trusts(self, host: str) -> bool:
        address = address_of(host)
        return address is not None and any(ip_address(address) in network for network in self._networks)


@dataclass(frozen=True)
class Forwarded:
    """The values of the proxies' headers; None if missing or invalid."""

    client: str | None = None
    scheme: str | None = None
    authority: Authority | None = None
    port: int | None = None
    prefix: str | None = None

    @classmethod
    def of(cls, headers: Headers, trusts: Callable[[str], bool]) -> Forwarded:
        """From X-Forwarded-* if any is present, else from Forwarded: a proxy sets one kind, and the other may come from
        the client."""
        lists = {name: _values(headers, f"x-forwarded-{name}") for name in X_FORWARDED}
        if any(lists.values()):
            client, hops = _client(lists["for"], trusts)
            fields = {name: values[-min(hops, len(values))] for name, values in lists.items() if values}
        else:
            elements = [_pairs(element) for element in _values(headers, "forwarded")]
            client, hops = _client([element.get("for", "") for element in elements], trusts)
            fields = elements[-min(hops, len(elements))] if elements else {}
        return cls(client, _scheme(fields), _authority(fields), _port(fields), _prefix(fields))


def _client(hops: Sequence[str], trusts: Callable[[str], bool]) -> tuple[str | None, int]:
    """The client of the outermost trusted proxy, and the position of that proxy's entry: 1 is the last."""
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
    """The pairs of one proxy's element (RFC 7239, 4; the nearest proxy's is the last)."""
    found = [match for part in element.split(";") if (match := _PAIR.fullmatch(part))]
    return {match[1].lower(): match[2] if match[2] is not None else match[3] for match in found}


def _scheme(fields: Mapping[str, str]) -> str | None:
    scheme = fields.get("proto", "").lower()
    return scheme if scheme in DEFAULT_PORTS else None


def _authority(fields: Mapping[str, str]) -> Authority | None:
    return Authority.parse(fields["host"]) if "host" in fields else None


def _port(fields: Mapping[str, str]) -> int | None:
    text = fields.get("port", "")
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 5 and 0 < int(text) < 65536 else None


def _prefix(fields: Mapping[str, str]) -> str | None:
    text = fields.get("prefix", "").rstrip("/")
    return text if len(text) <= 200 and _PREFIX.fullmatch(text) else None


def _apply(scope: Scope, forwarded: Forwarded) -> None:
    """Change the scope to the client's request, in place, so that the access log shows it too. The prefix is what the
    proxy has stripped from the path."""
    scheme = forwarded.scheme or scope["scheme"]
    host = _host(forwarded, scheme, Headers(scope=scope).get("host"))
    scope.update(scheme=scheme, headers=list(scope["headers"]))
    if forwarded.client:
        scope["client"] = (forwarded.client, 0)
    if forwarded.prefix:
        scope.update(root_path=forwarded.prefix, path=forwarded.prefix + scope["path"])
    if host is not None:
        MutableHeaders(scope=scope)["host"] = host


def _host(forwarded: Forwarded, scheme: str, own: str | None) -> str | None:
    """The Host header that the client sent; None if the proxy does not change it."""
    authority = forwarded.authority or (Authority.parse(own) if own and forwarded.port else None)
    if authority is None:
        return None
    port = forwarded.port if forwarded.port and (authority.port is None or not forwarded.authority) else authority.port
    return str(Authority(authority.host, None if port == DEFAULT_PORTS[scheme] else port))
