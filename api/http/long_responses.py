"""ASGI middleware for answers that last for hours: their bodies are sent when routing and dependencies are done.

An answer that streams from inside of a route keeps all of its frames, exit stacks and task groups alive: 180 objects a
stream, and every full garbage collection, for which all requests wait, goes through them. From here it is half of that.
The head goes through the middlewares in between as ever; the body goes past them.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

_KEY = "longtake.long_answers"


class LongAnswer(Protocol):
    """The rest of an answer whose head is sent. Exactly one of the two is called."""

    async def go_on(self, receive: Receive, send: Send) -> None: ...

    def give_up(self) -> None: ...


class LongAnswers:
    """The outermost middleware, so that little is alive beside the answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = list[LongAnswer]()
        scope[_KEY] = left  # a list, for middlewares in between may copy the scope
        try:
            await self._app(scope, receive, send)
        except BaseException:
            for answer in left:
                answer.give_up()
            raise
        for answer in left:
            await answer.go_on(receive, send)


async def send_later(answer: LongAnswer, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the middleware send the rest; without one, send it now."""
    left: MutableSequence[LongAnswer] | None = scope.get(_KEY)
    if left is None:
        await answer.go_on(receive, send)
    else:
        left.append(answer)
