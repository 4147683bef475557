"""CORS (WHATWG Fetch): media may be read from any origin, everything else from LONGTAKE_CORS_ORIGINS only.

The only secrets of a job's media are its id and, with keys, the token in their links, so they may be embedded wherever
these are known. Lists and submissions are closed to other origins by default: a page that a developer opens must not
control the service on their machine.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.paths import path_of
from core.service.domain.addresses import items_of

MEDIA_PATH = re.compile(r"/jobs/[^/]+/(?:[^/]+/)*(?:video|[^/]+\.(?:m3u8|mp4|m4s|jpg|jpeg|png|webp|vtt))")
"""What players fetch: every path of a job with the extension of a playlist, video or picture."""
ANY = "*"
ALLOWED_HEADERS = (
    "*, Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, If-None-Match, If-Range, "
    "Last-Event-ID, Prefer, Range, X-Request-Id"
)
"""The asterisk covers all others, but never Authorization, and old browsers do not support it."""
EXPOSED_HEADERS = (
    "Accept-Ranges, Allow, Content-Disposition, Content-Length, Content-Range, Date, ETag, Idempotency-Replayed, Link, "
    "Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id"
)
PREFLIGHT_SECONDS = 7200
"""How long browsers may cache a preflight; Chromium's maximum."""


class CrossOrigin:
    """ASGI middleware: adds the CORS headers, to errors too, so that players can retry."""

    def __init__(self, app: ASGIApp, origins: str | None) -> None:
        """`origins`: comma-separated, such as `https://app.example`; `*` opens the whole API to every page."""
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in items_of(origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        allowed = self._allowed_origin(path_of(scope), headers.get("origin"))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), allowed, headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _allowed_origin(self, path: str, origin: str | None) -> str | None:
        """The value of Access-Control-Allow-Origin: ANY, this origin, or none."""
        if ANY in self._origins or MEDIA_PATH.fullmatch(path):
            return ANY
        return origin if origin and origin.lower() in self._origins else None

    def _add(self, response: MutableHeaders, allowed: str | None, request: Headers) -> None:
        if allowed != ANY and self._origins:
            response.add_vary_header("Origin")
        if allowed is None:
            return
        response["Access-Control-Allow-Origin"] = allowed
        if "access-control-request-method" not in request:
            response["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            return
        response["Access-Control-Allow-Methods"] = response.get("allow", "GET, HEAD, OPTIONS")
        response["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        response["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        if request.get("access-control-request-private-network") == "true":
            response["Access-Control-Allow-Private-Network"] = "true"
