"""Where a request's path begins for routes, and where it begins for clients: proxies may take a prefix off."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import Scope


def path_of(scope: Scope) -> str:
    """The path as routes are written, without a prefix (ASGI: `path` has `root_path` in front)."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def prefix_of(scope: Scope) -> str:
    """The path under which clients reach this API, as settings or a trusted proxy say; mostly there is none."""
    base = scope["app"].state.settings.public_base_url
    return (urlsplit(base).path if base else str(scope.get("root_path", ""))).rstrip("/")
