"""Which Host names this server answers to: a page whose name is made to point here (DNS rebinding) gets nothing.

Such an attack needs a name that a stranger can register, so addresses and names without a dot are always answered.
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
    """ASGI middleware: 421 for a Host (or :authority) that is not this server's."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        given = {name.lower().rstrip(".") for name in items_of(settings.allowed_hosts)}
        public = urlsplit(settings.public_base_url or "").hostname
        self._any = "*" in given
        self._names = given | ({public} if public else set())
        self._endings = tuple(name[1:] for name in given if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope).get("host")) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        await response_of(refusal, prefix=prefix_of(scope))(scope, receive, send)

    def _refusal(self, host: str | None) -> HostNotAllowed | MalformedHttp | None:
        """Why this Host header is not answered. HTTP/1.0 has none, and then no name either."""
        if not host:
            return None
        authority = Authority.parse(host)
        if authority is None:
            return MalformedHttp("the header Host is no host and port", fix="send a valid Host header")
        if self._answers_to(authority.host):
            return None
        name = shortened(authority.host)
        return HostNotAllowed(
            f"this server does not answer to the name {name}",
            fix=f"use its address, or add the name to LONGTAKE_ALLOWED_HOSTS: {name}",
        )

    def _answers_to(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        return self._any or is_no_public_name(name) or name in self._names or name.endswith(self._endings)


def is_no_public_name(host: str) -> bool:
    """An address, or a name that nobody can register: without a dot, or under localhost (RFC 6761, 6.3)."""
    return "." not in host or host.endswith(".localhost") or is_address(host.strip("[]"))
