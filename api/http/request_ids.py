"""X-Request-Id on every answer: the client's own if it is valid, else a new one. Log lines of the request have it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.service.request_ids import accepted_request_id, set_request_id

HEADER = "X-Request-Id"
_KEY = "longtake.request_id"


def request_id_of(scope: Scope) -> str:
    """The id of a request, the same at every call."""
    return scope.setdefault(_KEY, accepted_request_id(Headers(scope=scope).get(HEADER)))


class RequestIds:
    """ASGI middleware. The id is never unset: each request runs in a task of its own, and LongResponses sends bodies
    after this has returned."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        set_request_id(request_id)
        header = (HEADER.lower().encode(), request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        await self._app(scope, receive, send_with_id)
