"""Counts every answer, and measures how long it took to begin."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.methods import ROUTE_METHODS
from api.metrics import ApiMetrics

_METHODS = frozenset({*ROUTE_METHODS, "OPTIONS"})


def method_of(scope: Scope) -> str:
    """The method of a request if there is such a one, else "other"."""
    return scope["method"] if scope["method"] in _METHODS else "other"


class Measured:
    """ASGI middleware. Requests whose client disconnects before an answer begins are not counted."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived_at = time.perf_counter()
        method = method_of(scope)

        async def measured_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.answered(method, route, message["status"], time.perf_counter() - arrived_at)
            await send(message)

        await self._app(scope, receive, measured_send)
