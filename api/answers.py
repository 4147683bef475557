"""Reading bodies and writing conditional answers: what several routes share about HTTP itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, NoReturn

from fastapi import Depends, Request, Response

from api.problems import BodyTooLarge, NotJson
from core.service.errors import MalformedJson

MAX_BODY_BYTES = 64 * 1024


async def _json_body(request: Request) -> object:
    """The decoded JSON body. Raises NotJson, BodyTooLarge or MalformedJson.

    The media type is required: browsers send anything else from any web page without asking (no CORS preflight).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise NotJson(fix="send the header Content-Type: application/json")
    data = await _limited_body(request)
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedJson(f"the body is not valid JSON: {error.msg} ({where})", fix="correct the JSON") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, thousands of brackets
        raise MalformedJson("the body is not valid JSON", fix="correct the JSON") from error


JsonBody = Annotated[object, Depends(_json_body)]


async def _limited_body(request: Request) -> bytes:
    """The body, read no further than MAX_BODY_BYTES."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"the body has more than {MAX_BODY_BYTES} bytes", fix="send a smaller body")
    return bytes(data)


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is not JSON", fix="give a finite number")


def conditional(
    request: Request, body: str, media_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> Response:
    """200 with a strong ETag, or 304 where the client has these very bytes already (RFC 9110, 13.1.2)."""
    return conditional_on(request, body, lambda: body, media_type, headers)


def conditional_on(
    request: Request,
    source: str,
    body: Callable[[], str],
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The same for a body that is dear to make and follows from `source` alone: it is made only where it is sent."""
    etag = f'"{hashlib.sha256(source.encode()).hexdigest()[:32]}"'
    headers = {"Cache-Control": "no-cache", "ETag": etag, **(headers or {})}
    if matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(body().encode(), media_type=media_type, headers=headers)


def matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison, as RFC 9110 asks for If-None-Match: proxies that compress make a tag weak."""
    given = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in given or "*" in given
