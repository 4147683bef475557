"""The files of the page at `/` (the package `web`), read once, and the policy that browsers hold it to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "no-cache",  # asked for again each time, and answered 304: a new version is whole at once
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
INDEX = "index.html"


@dataclass(frozen=True)
class WebFile:
    """A file as it is sent."""

    data: bytes
    media_type: str
    etag: str


@cache
def web_files() -> Mapping[str, WebFile]:
    """By path below `web/`. Only what browsers load: other files have no media type here."""
    return dict(_found(files("web"), ""))


def _found(folder: Traversable, prefix: str) -> Iterator[tuple[str, WebFile]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _found(entry, f"{prefix}{entry.name}/")
        elif media_type := MEDIA_TYPES.get(entry.name[entry.name.rfind(".") :]):
            data = entry.read_bytes()
            yield f"{prefix}{entry.name}", WebFile(data, media_type, f'"{hashlib.sha256(data).hexdigest()[:32]}"')


def policy_of_web(media_origins: Iterable[str]) -> str:
    """The Content-Security-Policy of the page: what it has comes from here, and media and uploads also from
    `media_origins`. Text becomes markup nowhere: Trusted Types refuse it."""
    media = "".join(f" {origin}" for origin in media_origins)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' blob:{media}",
            f"media-src 'self' blob:{media}",
            f"connect-src 'self'{media}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
