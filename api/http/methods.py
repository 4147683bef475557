"""HEAD wherever GET is, and OPTIONS on every path (RFC 9110, 9.3.2 and 9.3.7), for all routes."""

from __future__ import annotations

from contextlib import suppress

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTE_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
"""Methods that a route may have."""
SERVER_WIDE = "*"
"""The target of `OPTIONS *`: the server as a whole."""


def methods_of(app: FastAPI, scope: Scope) -> tuple[str, ...]:
    """Every method that the path in `scope` allows, sorted; empty if no route has this path."""
    if scope["path"] == SERVER_WIDE:
        return tuple(sorted({*ROUTE_METHODS, "OPTIONS"}))
    found = {method for method in ROUTE_METHODS if _takes(app, scope, method)}
    if "GET" in found:
        found.add("HEAD")
    return tuple(sorted({*found, "OPTIONS"})) if found else ()


def _takes(app: FastAPI, scope: Scope, method: str) -> bool:
    """Whether a route declares this method."""
    request = {"type": "http", "method": method, "path": scope["path"], "root_path": scope.get("root_path", "")}
    return any(route.matches(dict(request))[0] is Match.FULL for route in app.router.routes)


class _HeadersSent(Exception):
    """The response to a HEAD is complete: stops the route before it makes the body."""


class HeadAndOptions:
    """ASGI middleware: answers OPTIONS itself, and HEAD with the head of the response to GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            await self._options(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "HEAD" and not _takes(scope["app"], scope, "HEAD"):
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = methods_of(scope["app"], scope)
        if not allowed:
            await self._app(scope, receive, send)
            return
        await Response(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = {**scope, "method": "GET"}

        async def send_headers(message: Message) -> None:
            scope.update({key: request[key] for key in ("route",) if key in request})  # for those outside
            await send(message)
            if message["type"] == "http.response.start":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                raise _HeadersSent

        with suppress(_HeadersSent):
            await self._app(request, receive, send_headers)
