"""JSON request bodies and conditional responses, shared by routes."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from email.message import Message
from typing import Annotated, NoReturn

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.http.problems import BodyTooLarge, EncodedBody, NotJson
from core.service.domain.errors import MalformedJson, shortened

MAX_BODY_BYTES = 64 * 1024
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_VALUES = MAX_BATCH_BYTES // 4


async def _json_body(request: Request) -> object:
    return await decoded_json(request, MAX_BODY_BYTES)


async def _large_json_body(request: Request) -> object:
    return await decoded_json(request, MAX_BATCH_BYTES, MAX_BATCH_VALUES)


async def decoded_json(request: Request, most_bytes: int, most_values: int = MAX_BODY_BYTES) -> object:
    """The decoded JSON body. Raises NotJson, EncodedBody, BodyTooLarge or MalformedJson.

    The media type is required, because browsers send other types from any web page without a CORS preflight. A body
    above MAX_BODY_BYTES is decoded in a thread, and may have about `most_values` values.
    """
    declared = declared_type(request)
    media_type = declared.get_content_type()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise NotJson(fix="send the header Content-Type: application/json")
    data = await limited_body(request, most_bytes)
    charset = str(declared.get_content_charset() or "")
    if len(data) <= MAX_BODY_BYTES:
        return parse_json(_text_of(data, charset))
    return await run_in_threadpool(_large_json, data, charset, most_values)


def _large_json(data: bytes, charset: str, most_values: int) -> object:
    """Counts before it decodes: many small values take 100 times as long as one long text of the same size."""
    if sum(map(data.count, (b",", b"[", b"{"))) > most_values:
        raise BodyTooLarge(f"the body has more than {most_values} values", fix="send fewer values")
    return parse_json(_text_of(data, charset))


def declared_type(request: Request) -> Message:
    """The body's media type with its parameters; text/plain without the header."""
    declared = Message()
    declared["Content-Type"] = request.headers.get("content-type", "text/plain")
    return declared


def parse_json(text: str) -> object:
    """The value of a JSON text (RFC 8259). Raises MalformedJson, also for a repeated key and for NaN."""
    if not text.strip():
        raise MalformedJson("the body is empty", fix='send a JSON object, such as {"prompt": "..."}')
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object_of)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedJson(f"the body is not valid JSON: {error.msg} ({where})", fix="correct the JSON") from error
    except RecursionError as error:
        raise MalformedJson("the body is nested too deeply", fix="send a flatter body") from error
    except ValueError as error:
        raise MalformedJson("the body has a number with too many digits", fix="send a shorter number") from error


def _text_of(data: bytes, charset: str) -> str:
    """The body as text: UTF-8 (RFC 8259, 8.1), without a byte order mark. Raises MalformedJson."""
    wide = _wide_encoding(data)
    if wide:
        raise MalformedJson(f"the body is {wide}; JSON is sent as UTF-8", fix="encode the body as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        declared = f"; the header declares the charset {shortened(charset, 40)}" if charset else ""
        found = f"the body is not UTF-8 at byte {at} (0x{data[at]:02X}){declared}"
        raise MalformedJson(found, fix="encode the body as UTF-8, whatever its charset header says") from error


def _wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32, recognized by byte order mark or zero bytes; None for all else."""
    guess = json.detect_encoding(data)
    return None if guess.startswith("utf-8") else guess.replace("-le", "").replace("-be", "").upper()


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. Parsers differ in which of two equal keys counts, so both are refused (RFC 8259, 4)."""
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    times = Counter(name for name, _ in pairs)
    twice = shortened(next(name for name in made if times[name] > 1), 64)
    raise MalformedJson(f"the key {twice} is given twice", field=twice, fix="give it once")


JsonBody = Annotated[object, Depends(_json_body)]
LargeJsonBody = Annotated[object, Depends(_large_json_body)]
"""The same, of at most MAX_BATCH_BYTES."""


async def limited_body(request: Request, most_bytes: int) -> bytes:
    """The body. Raises BodyTooLarge after `most_bytes`, EncodedBody."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise EncodedBody(f"the body is declared as {shortened(encoding, 40)}", fix="send it without Content-Encoding")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most_bytes:
            raise BodyTooLarge(f"the body has more than {most_bytes} bytes", fix="send a smaller body")
    return bytes(data)


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is not JSON", fix="give a finite number")


def conditional(
    request: Request, body: str, media_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> Response:
    """200 with a strong ETag, or 304 if the client has the same bytes (RFC 9110, 13.1.2)."""
    etag = etag_of(body)
    if has_etag(request, etag):
        return not_modified(etag)
    headers = {"Cache-Control": "no-cache", "ETag": etag, **(headers or {})}
    return Response(body.encode(), media_type=media_type, headers=headers)


def etag_of(source: str) -> str:
    """A strong ETag for what depends on `source` only."""
    return f'"{hashlib.sha256(source.encode()).hexdigest()[:32]}"'


def has_etag(request: Request, etag: str) -> bool:
    """Whether the client has what this ETag stands for."""
    return matches(request.headers.get("if-none-match", ""), etag)


def not_modified(etag: str) -> Response:
    return Response(status_code=304, headers={"Cache-Control": "no-cache", "ETag": etag})


def matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison (RFC 9110, 13.1.2), because proxies that compress make a tag weak."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
