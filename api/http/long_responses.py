"""ASGI middleware for responses that last for hours: their bodies are sent after routing and dependencies have ended.

A response that streams from within a route keeps the route's frames, exit stacks and task groups alive: 180 objects a
stream, which every full garbage collection, a pause of all requests, must visit. From here it is half of that. The head
passes through the other middleware as usual; the body bypasses it.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

_KEY = "longtake.long_responses"


class LongResponse(Protocol):
    """The body of a response whose head was sent. Exactly one of the two methods is called."""

    async def send_body(self, receive: Receive, send: Send) -> None: ...

    def abandon(self) -> None: ...


class LongResponses:
    """Must be the outermost middleware, so that little stays alive beside the bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        pending = list[LongResponse]()
        scope[_KEY] = pending  # a list, because other middleware may copy the scope
        try:
            await self._app(scope, receive, send)
        except BaseException:
            for response in pending:
                response.abandon()
            raise
        for response in pending:
            await response.send_body(receive, send)


async def send_later(response: LongResponse, scope: Scope, receive: Receive, send: Send) -> None:
    """Leave the body to the middleware; without the middleware, send it now."""
    pending: MutableSequence[LongResponse] | None = scope.get(_KEY)
    if pending is None:
        await response.send_body(receive, send)
    else:
        pending.append(response)
