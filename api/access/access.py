"""Who asks: reads the key or the link's token of a request, before anything is routed."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.caller import EVERYBODY
from core.service.domain.ports import ApiKeys
from core.service.settings import Settings


class Access:
    """ASGI middleware: sets `request.state.caller`."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, settings: Settings) -> None:
        self._app = app
        self._keys = keys
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["caller"] = EVERYBODY
        await self._app(scope, receive, send)
