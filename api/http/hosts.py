"""Checks the Host header, against DNS rebinding: a page whose name is made to resolve to this server.

The attack needs a name that can be registered, so addresses and names without a dot are always allowed.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.paths import prefix_of
from api.http.problems import HostNotAllowed, MalformedHttp, response_of
from core.service.domain.addresses import Authority, is_address, items_of
from core.service.domain.errors import shortened
from core.service.settings import Settings


class AllowedHosts:
    """ASGI middleware: 421 for a Host (or :authority) that is not allowed."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        allowed = {name.lower().rstrip(".") for name in items_of(settings.allowed_hosts)}
        own = {urlsplit(base or "").hostname for base in (settings.public_base_url, settings.media_base_url)}
        self._any = "*" in allowed
        self._names = allowed | {name for name in own if name}
        self._suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope).get("host")) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        await response_of(refusal, prefix=prefix_of(scope))(scope, receive, send)

    def _refusal(self, host: str | None) -> HostNotAllowed | MalformedHttp | None:
        """Why this Host header is refused. HTTP/1.0 requests need none."""
        if not host:
            return None
        authority = Authority.parse(host)
        if authority is None:
            return MalformedHttp("the Host header is not a host and port", fix="send a valid Host header")
        if self._is_allowed(authority.host):
            return None
        name = shortened(authority.host)
        return HostNotAllowed(
            f"this server does not answer to the name {name}",
            fix=f"use its address, or add the name to LONGTAKE_ALLOWED_HOSTS: {name}",
        )

    def _is_allowed(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        return self._any or is_local_name(name) or name in self._names or name.endswith(self._suffixes)


def is_local_name(host: str) -> bool:
    """An address, or a name that cannot be registered: without a dot, or under localhost (RFC 6761, 6.3)."""
    return "." not in host or host.endswith(".localhost") or is_address(host.strip("[]"))
