"""A span of every request, which goes on with the trace of the client's `traceparent` header."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.measured import method_of
from core.service import tracing


class Traced:
    """ASGI middleware. Names routes by their templates: paths and queries of clients may hold secrets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not tracing.is_tracing():
            await self._app(scope, receive, send)
            return
        method = method_of(scope)
        parent = Headers(scope=scope).get("traceparent")
        with tracing.span(method, parent, {"http.request.method": method}, is_request=True) as span:

            async def traced_send(message: Message) -> None:
                if message["type"] == "http.response.start" and span is not None:
                    route = getattr(scope.get("route"), "path", "none")
                    span.update_name(f"{method} {route}")
                    span.set_attributes({"http.route": route, "http.response.status_code": message["status"]})
                    if message["status"] >= 500:
                        tracing.fail(span, str(message["status"]))
                await send(message)

            await self._app(scope, receive, traced_send)
