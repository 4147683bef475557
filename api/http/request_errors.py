"""The boundary of a request: a client that leaves is one line in the log, and a bug is an answer that tells nothing.

Knows nothing of what was asked.
"""

from __future__ import annotations

import logging

from anyio import BrokenResourceError, ClosedResourceError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.paths import prefix_of
from api.http.problems import InternalError, response_of
from core.service.domain.errors import shortened

_log = logging.getLogger(__name__)
LEFT = (ClientDisconnect, BrokenResourceError, ClosedResourceError, ConnectionResetError, BrokenPipeError)
"""What fails for want of a client."""


class Boundary:
    """ASGI middleware: no exception of a route gets out of it, unless the answer has begun and must be cut off."""

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
        except Exception as error:  # a request is a task, and this is its boundary
            request = f"{scope['method']} {shortened(scope['path'])}"
            if isinstance(error, ClientDisconnect) or (left and _is_for_want_of_a_client(error)):
                _log.info("%s: the client left (%s)", request, type(error).__name__)
                return
            if started:
                raise  # the server logs it and cuts the answer off
            _log.error("%s", request, exc_info=error)
            await response_of(InternalError(), prefix=prefix_of(scope))(scope, receive, send)


def _is_for_want_of_a_client(error: Exception) -> bool:
    """Also where a task group has gathered several of them."""
    return (error.split(LEFT)[1] is None) if isinstance(error, ExceptionGroup) else isinstance(error, LEFT)
