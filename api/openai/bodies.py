"""Reads the body of POST /v1/videos: JSON or multipart/form-data, with an image in it or without."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from api.backends.ports import SettingsDep
from api.http.client_limits import EnforcedLimit, Refusal, client_of
from api.http.idempotency import fingerprint_of
from api.http.problems import NotJson
from api.http.responses import MAX_BODY_BYTES, declared_type, decoded_json, limited_body
from api.openai.multipart import Form, parse_form
from api.openai.requests import ImageReference, VideoRequest
from core.service.admission.request_body import parse_body
from core.service.domain.errors import InvalidField, MalformedForm, ServiceFull, UploadTooLarge, shortened
from core.service.domain.ids import is_upload_id
from core.service.domain.media_types import SNIFFED_BYTES, MediaKind, describe, kinds_of, sniff, types_of

FORM = "multipart/form-data"
REFERENCE = "input_reference"
URL_FIELD = f"{REFERENCE}.image_url"
MAX_URL_CHARACTERS = 2000
"""As of a job's `image`."""
MAX_LARGE_BODIES, MAX_LARGE_BODIES_OF_CLIENT = 8, 2
"""They are read into memory."""
_BOUNDARY = re.compile(r"[\w'()+,./:=? -]{1,70}", re.ASCII)
"""RFC 2046, 5.1.1."""
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.ASCII)


@dataclass(frozen=True)
class Image:
    """A file that is an image by its first bytes. A worker decodes it."""

    data: bytes
    content_type: str


@dataclass(frozen=True)
class AskedVideo:
    """A request, the image that came with it, and the fingerprint of both."""

    request: VideoRequest
    image: Image | None
    fingerprint: str


class LargeBodies(EnforcedLimit):
    """The bodies above MAX_BODY_BYTES that one process reads at a time. Raises ServiceFull."""

    def __init__(self) -> None:
        refusal = Refusal("large requests are being read", "try again later", ServiceFull, ServiceFull)
        super().__init__(MAX_LARGE_BODIES, MAX_LARGE_BODIES_OF_CLIENT, refusal)


async def _asked(request: Request, settings: SettingsDep) -> AsyncGenerator[AskedVideo]:
    most_bytes = MAX_BODY_BYTES + settings.max_image_bytes * 4 // 3  # base64
    bodies = cast(LargeBodies, request.app.state.large_bodies)
    with nullcontext() if _is_small(request) else bodies.enter(client_of(request.scope)):
        if declared_type(request).get_content_type() == FORM:
            form = await _form(request, most_bytes)
        else:
            form = Form(await decoded_json(request, most_bytes))
        yield await run_in_threadpool(_parsed, form, settings.max_image_bytes)


Asked = Annotated[AskedVideo, Depends(_asked)]


def _is_small(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    return length.isascii() and length.isdigit() and int(length) <= MAX_BODY_BYTES


async def _form(request: Request, most_bytes: int) -> Form:
    """Raises NotJson, EncodedBody, BodyTooLarge, MalformedForm, InvalidField."""
    _check_origin(request)
    boundary = declared_type(request).get_boundary("")
    if not _BOUNDARY.fullmatch(boundary):
        fix = "let your HTTP library make the body and its Content-Type header"
        raise MalformedForm("Content-Type has no valid boundary", fix=fix)
    return await run_in_threadpool(parse_form, await limited_body(request, most_bytes), boundary)


def _check_origin(request: Request) -> None:
    """Raises NotJson for a form that any web page could send: browsers ask nobody before (CORS) unless it has a header
    such as Authorization."""
    headers = request.headers
    if "origin" in headers and "authorization" not in headers and headers.get("sec-fetch-site") != "same-origin":
        message = "a form of another web page needs the header Authorization"
        raise NotJson(message, fix="send Authorization, or Content-Type: application/json")


def _parsed(form: Form, max_image_bytes: int) -> AskedVideo:
    """Raises RequestErrors."""
    fields = form.fields
    if isinstance(fields, dict):  # so that files of other names are refused as unknown fields
        fields = dict.fromkeys(form.files.keys() - {REFERENCE}) | cast(dict[str, object], fields)
    request = parse_body(fields, VideoRequest)
    data = form.files.get(REFERENCE)
    if request.input_reference is not None:
        data = _data_of(request.input_reference)
        request = request if data is None else request.model_copy(update={"input_reference": None})
    image = None if data is None else _image(data, max_image_bytes)
    digest = image and hashlib.sha256(image.data).hexdigest()
    return AskedVideo(request, image, fingerprint_of({"fields": request.model_dump(), "image": digest}))


def _data_of(reference: ImageReference) -> bytes | None:
    """The image in a data URL; None if the image is elsewhere. Raises InvalidField for what names no image."""
    url, file_id = reference.image_url, reference.file_id
    if (url is None) == (file_id is None):
        raise InvalidField(f"{REFERENCE} names not one image", field=REFERENCE, fix="give image_url or file_id")
    if url is not None and url.startswith("data:"):
        return _decoded(url)
    if url is not None and len(url) > MAX_URL_CHARACTERS:
        message = f"image_url has more than {MAX_URL_CHARACTERS} characters"
        raise InvalidField(message, field=URL_FIELD, fix="shorten it, or send the image itself")
    if file_id is not None and not is_upload_id(file_id):
        message = f"{shortened(file_id, 32)} is not the id of an upload"
        raise InvalidField(message, field=f"{REFERENCE}.file_id", fix="give an id from POST /uploads")
    return None


def _decoded(url: str) -> bytes:
    """The bytes of a data URL (RFC 2397). Raises InvalidField."""
    head = _DATA_URL.match(url)
    try:
        if head:
            return base64.b64decode(url[head.end() :], validate=True)
    except ValueError:
        pass
    raise InvalidField("image_url is not a base64 data URL", field=URL_FIELD, fix="encode the image as base64")


def _image(data: bytes, most_bytes: int) -> Image:
    """Raises InvalidField for a file that is no image by its first bytes, UploadTooLarge."""
    content_type = sniff(data[:SNIFFED_BYTES])
    if content_type is None or MediaKind.IMAGE not in kinds_of(content_type):
        fix = f"send one of {', '.join(types_of(MediaKind.IMAGE))}"
        raise InvalidField(f"{REFERENCE} is {describe(data[:SNIFFED_BYTES])}", field=REFERENCE, fix=fix)
    if len(data) > most_bytes:
        message = f"{REFERENCE} has {len(data)} bytes; images may have {most_bytes}"
        raise UploadTooLarge(message, field=REFERENCE, fix=f"send at most {most_bytes} bytes")
    return Image(data, content_type)
