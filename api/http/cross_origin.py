"""Lets web pages of other origins read answers (WHATWG Fetch, CORS): media from anywhere, all else as the settings say.

A job's id is its only key, so its media may be embedded wherever the id is known. Lists and submissions are closed to
other origins unless LONGTAKE_CORS_ORIGINS names them: a page that a developer happens to open must not drive the
service on their machine.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.paths import path_of
from core.service.domain.addresses import items_of

MEDIA_PATH = re.compile(r"/jobs/[^/]+/(?:[^/]+/)*(?:video|[^/]+\.(?:m3u8|mp4|m4s|jpg|jpeg|png|webp|vtt))")
"""What players fetch: everything under a job that ends like a playlist, video or picture."""
ANY = "*"
ALLOWED_HEADERS = (
    "*, Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, If-None-Match, If-Range, "
    "Last-Event-ID, Prefer, Range, X-Request-Id"
)
"""The asterisk is for all others: it never covers Authorization, and old browsers do not know it."""
EXPOSED_HEADERS = (
    "Accept-Ranges, Allow, Content-Disposition, Content-Length, Content-Range, Date, ETag, Link, Location, "
    "Retry-After, X-Request-Id"
)
PREFLIGHT_SECONDS = 7200
"""How long browsers may remember a preflight; Chromium takes no longer."""


class CrossOrigin:
    """ASGI middleware: adds the headers that let a page read the answer, on refusals too, so that players can retry."""

    def __init__(self, app: ASGIApp, origins: str | None) -> None:
        """`origins`: a list with commas, such as `https://app.example`; `*` opens the whole API to any page."""
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in items_of(origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        opened = self._opened(path_of(scope), headers.get("origin"))

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), opened, headers)
            await send(message)

        await self._app(scope, receive, send_open)

    def _opened(self, path: str, origin: str | None) -> str | None:
        """Whom an answer is open to: anybody, this origin, or nobody else."""
        if ANY in self._origins or MEDIA_PATH.fullmatch(path):
            return ANY
        return origin if origin and origin.lower() in self._origins else None

    def _add(self, answer: MutableHeaders, opened: str | None, asked: Headers) -> None:
        if opened != ANY and self._origins:
            answer.add_vary_header("Origin")
        if opened is None:
            return
        answer["Access-Control-Allow-Origin"] = opened
        if "access-control-request-method" not in asked:
            answer["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            return
        answer["Access-Control-Allow-Methods"] = answer.get("allow", "GET, HEAD, OPTIONS")
        answer["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        answer["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        if asked.get("access-control-request-private-network") == "true":
            answer["Access-Control-Allow-Private-Network"] = "true"
