"""A request's path as routes see it and the prefix that clients see: proxies may strip a prefix."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import Scope


def path_of(scope: Scope) -> str:
    """The path without prefix, as routes declare it (in ASGI, `path` begins with `root_path`)."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def prefix_of(scope: Scope) -> str:
    """The path prefix of the public URL, from the settings or a trusted proxy; usually empty."""
    base = scope["app"].state.settings.public_base_url
    return (urlsplit(base).path if base else str(scope.get("root_path", ""))).rstrip("/")
