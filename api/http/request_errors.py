"""The outermost error handler of a request: a disconnect is one log line, a bug is a 500 problem without details."""

from __future__ import annotations

import logging

from anyio import BrokenResourceError, ClosedResourceError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.paths import prefix_of
from api.http.problems import InternalError, response_of
from core.service.domain.errors import shortened

_log = logging.getLogger(__name__)
DISCONNECTS = (ClientDisconnect, BrokenResourceError, ClosedResourceError, ConnectionResetError, BrokenPipeError)
"""Errors that a client's disconnect causes."""


class ErrorBoundary:
    """ASGI middleware: answers every exception of a route, unless the response has begun and must be cut off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = left = False

        async def watched_receive() -> Message:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, watched_receive, watched_send)
        except Exception as error:  # the request's boundary
            request = f"{scope['method']} {shortened(scope['path'])}"
            if isinstance(error, ClientDisconnect) or (left and _is_disconnect(error)):
                _log.info("%s: the client disconnected (%s)", request, type(error).__name__)
                return
            if started:
                raise  # the server logs it and closes the connection
            _log.error("%s", request, exc_info=error)
            await response_of(InternalError(), prefix=prefix_of(scope))(scope, receive, send)


def _is_disconnect(error: Exception) -> bool:
    """Whether `error` is one of DISCONNECTS, or a task group's group of only those."""
    return (
        (error.split(DISCONNECTS)[1] is None) if isinstance(error, ExceptionGroup) else isinstance(error, DISCONNECTS)
    )
