"""The API key of each request, for the API only: links lead to object storages and CDNs, which must not see it."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from client.responses import origin


class KeyAuth(httpx.Auth):
    """`Authorization: Bearer` on requests to the API's own origin. httpx drops it where a redirect leads elsewhere."""

    def __init__(self, key: str | None, url: str) -> None:
        self._key = key
        self._origin = origin(httpx.URL(url))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Adds the key to a request (httpx.Auth)."""
        if self._key and origin(request.url) == self._origin:
            request.headers["Authorization"] = f"Bearer {self._key}"
        yield request
