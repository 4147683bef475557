"""Lets players in web pages of any origin read playlists and videos (WHATWG Fetch, CORS), and nothing else.

A job's id is its only key, so its media may be embedded wherever the id is known. Lists and submissions stay closed to
other origins: a page that a developer happens to open must not drive the service on their machine.
"""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_PATH = re.compile(r"/jobs/[^/]+/(playlist\.m3u8|video(\.mp4)?|chunks/[^/]+\.mp4)")


class OpenMedia:
    """ASGI middleware: `Access-Control-Allow-Origin: *` on media paths, on refusals too, so that players can retry."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not MEDIA_PATH.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Access-Control-Allow-Origin"] = "*"
            await send(message)

        await self._app(scope, receive, send_open)
