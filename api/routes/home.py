"""The page at `/` and its files below `/web/`. It makes, shows and steers jobs through this API only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from api.backends.ports import Ports, PortsDep, SettingsDep
from api.http.problems import UnknownPath
from api.http.responses import has_etag
from api.http.web_files import HEADERS, INDEX, WebFile, policy_of_web, web_files
from core.service.domain.errors import StorageError
from core.service.settings import Settings

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request, ports: PortsDep, settings: SettingsDep) -> Response:
    """The page. The same for every address: what it shows is named after the `#`."""
    policy = policy_of_web(_media_origins(ports, settings))
    return _sent(request, web_files()[INDEX], {"Content-Security-Policy": policy})


@router.get("/web/{name}")
def file(name: str, request: Request) -> Response:
    """A file of the page."""
    return _file_at(name, request)


@router.get("/web/{folder}/{name}")
def file_in_folder(folder: str, name: str, request: Request) -> Response:
    """A file in a folder of the page."""
    return _file_at(f"{folder}/{name}", request)


@router.get("/favicon.ico")
def favicon(request: Request) -> Response:
    """Browsers ask for it where a page names no icon, such as a chunk opened by itself."""
    return _file_at("icon.svg", request)


def _file_at(path: str, request: Request) -> Response:
    found = web_files().get(path)
    if found is None:
        raise UnknownPath("the page has no such file", fix="open /")
    return _sent(request, found, {})


def _sent(request: Request, found: WebFile, headers: Mapping[str, str]) -> Response:
    shown = {**HEADERS, **headers, "ETag": found.etag}
    if has_etag(request, found.etag):
        return Response(status_code=304, headers=shown)
    return Response(found.data, media_type=found.media_type, headers=shown)


def _media_origins(ports: Ports, settings: Settings) -> Iterator[str]:
    """Origins beside this one: of a CDN, and of the object storage, to which files are sent and which players may be
    sent to."""
    if settings.media_base_url is not None:
        yield _origin(settings.media_base_url)
    with suppress(StorageError):  # without storage there are no media either
        yield _origin(ports.storage.url("any"))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
