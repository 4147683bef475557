"""Refuses paths with control characters before they are routed: the pattern of a route also matches a path that has one
more line feed at its end, so what decides by paths and the router would take such a path for two different ones."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.paths import path_of, prefix_of
from api.http.problems import UnknownPath, response_of
from core.service.domain.errors import shortened

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class NoControlCharacters:
    """ASGI middleware: there is nothing at a path that has a control character."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _CONTROL.search(scope["path"]):
            await self._app(scope, receive, send)
            return
        error = UnknownPath(
            f"there is nothing at {shortened(path_of(scope))}", fix="send it without control characters"
        )
        await response_of(error, prefix=prefix_of(scope))(scope, receive, send)
