"""Sends a stored video to a player, whole or one byte range (RFC 9110, section 14).

Players differ in what they accept, so responses are exact: 206 for a range, 416 beyond the end, 304 if unchanged,
always with length and ETag, also for HEAD.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from anyio import create_task_group
from anyio.abc import TaskGroup
from fastapi import Depends, Request, Response
from starlette.types import Receive, Scope, Send

from api.http.client_limits import EnforcedLimit, Refusal, client_of
from api.http.paths import prefix_of
from api.http.problems import response_of
from api.http.responses import matches
from core.service.domain.errors import MediaBusy, RangeNotSatisfiable, StorageError, TooManyMediaStreamsOfClient
from core.service.domain.ports import ObjectPart, ObjectReader
from core.service.settings import Settings

_log = logging.getLogger(__name__)
VIDEO_TYPE = "video/mp4"
CACHED_SECONDS = 86_400
"""How long objects that never change may be cached: as long as the tombstone of a deleted job is kept."""
_ONE_RANGE = re.compile(r"bytes=(\d{1,18}-\d{0,18}|-0{0,17}[1-9]\d{0,17})", re.ASCII)


class MediaStreams(EnforcedLimit):
    """The limit of videos being sent by one process. Raises MediaBusy or TooManyMediaStreamsOfClient."""

    def __init__(self, settings: Settings) -> None:
        fix = "try again after Retry-After seconds"
        refusal = Refusal("videos are being sent", fix, MediaBusy, TooManyMediaStreamsOfClient)
        super().__init__(settings.max_media_streams, settings.max_media_streams_per_address, refusal)


async def _media_streams(request: Request) -> MediaStreams:
    return cast(MediaStreams, request.app.state.media_streams)


MediaStreamsDep = Annotated[MediaStreams, Depends(_media_streams)]


@dataclass(frozen=True)
class MediaObject:
    """A stored video or picture. `etag` changes with its bytes; `size_bytes` is None if only the storage knows it.
    `download_name` is the file name when it is downloaded by a redirect."""

    key: str
    etag: str
    size_bytes: int | None = None
    cache_control: str = "no-cache"
    disposition: str | None = None
    download_name: str | None = None
    content_type: str = VIDEO_TYPE

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every response about it."""
        named = {"Content-Disposition": self.disposition} if self.disposition else {}
        return {"Accept-Ranges": "bytes", "Cache-Control": self.cache_control, "ETag": self.etag, **named}


def immutable(audience: Literal["public", "private"], most_seconds: float = CACHED_SECONDS) -> str:
    """Cache-Control of an object that never changes (RFC 8246): for shared caches too, or for the client's own."""
    return f"{audience}, max-age={min(CACHED_SECONDS, int(most_seconds))}, immutable"


async def deliver(request: Request, reader: ObjectReader, streams: MediaStreams, media: MediaObject) -> Response:
    """The response to a GET or HEAD of `media`, sent by this process."""
    if matches(request.headers.get("if-none-match", ""), media.etag):
        return Response(status_code=304, headers=media.headers)
    if request.method == "HEAD":
        length = media.size_bytes if media.size_bytes is not None else await _size_of(reader, media.key)
        return Response(media_type=media.content_type, headers={**media.headers, "Content-Length": str(length)})
    return ObjectResponse(reader, streams, media, requested_range(request.headers, media.etag))


async def _size_of(reader: ObjectReader, key: str) -> int:
    async with reader.open(key, "0-0") as part:
        return part.total_bytes


def requested_range(headers: Mapping[str, str], etag: str) -> str | None:
    """The requested byte range, without its unit; None for the whole.

    Several ranges, other units and invalid ranges are ignored, as RFC 9110, 14.2, allows; so is a range of an object
    that has changed (If-Range, 13.1.5).
    """
    found = _ONE_RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if not found or headers.get("if-range", etag) != etag:
        return None
    first, _, last = found[1].partition("-")
    return None if first and last and int(last) < int(first) else found[1]


class ObjectResponse(Response):
    """An object's bytes, sent as the client reads them. The storage is asked before the response begins, so that its
    failures are answered as problems."""

    def __init__(self, reader: ObjectReader, streams: MediaStreams, media: MediaObject, byte_range: str | None) -> None:
        super().__init__()
        self._reader = reader
        self._streams = streams
        self._media = media
        self._range = byte_range

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.enter(client_of(scope)):
            try:
                async with self._reader.open(self._media.key, self._range) as part:
                    await self._send(part, receive, send)
            except RangeNotSatisfiable as error:
                size = self._media.size_bytes if error.total_bytes is None else error.total_bytes
                unit = {} if size is None else {"Content-Range": f"bytes */{size}"}
                await response_of(error, unit, prefix=prefix_of(scope))(scope, receive, send)

    async def _send(self, part: ObjectPart, receive: Receive, send: Send) -> None:
        """Until all is sent or the client disconnects; api/server.py disconnects a client that reads nothing. If the
        storage fails the response stays incomplete and the server closes the connection, by which the client sees that
        bytes are missing."""
        await send(self._start(part))
        async with create_task_group() as group:
            group.start_soon(_cancel_on_disconnect, receive, group)
            try:
                await self._send_pieces(part, send)
            except StorageError as error:
                _log.warning("sending %s: %s", self._media.key, error)
            group.cancel_scope.cancel()

    def _start(self, part: ObjectPart) -> dict[str, object]:
        headers = {
            **self._media.headers,
            "Content-Type": self._media.content_type,
            "Content-Length": str(part.last_byte - part.first_byte + 1),
        }
        if part.is_range:
            headers["Content-Range"] = f"bytes {part.first_byte}-{part.last_byte}/{part.total_bytes}"
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 206 if part.is_range else 200, "headers": raw}

    async def _send_pieces(self, part: ObjectPart, send: Send) -> None:
        async for piece in part.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_on_disconnect(receive: Receive, group: TaskGroup) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    group.cancel_scope.cancel()
