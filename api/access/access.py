"""Who asks: reads the key or the link's token of a request, before anything is routed."""

from __future__ import annotations

import hmac
import re
from asyncio import timeout
from contextlib import suppress
from datetime import datetime

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from api.access.caller import EVERYBODY, NOBODY, Caller
from api.access.known_keys import KnownKeys
from api.access.scopes import check_scope
from api.http.paths import path_of, prefix_of
from api.http.problems import note, response_of
from api.http.protection import METRICS, scope_of, takes_link_token, tells_operators_more
from core.service.domain.api_keys import ADMIN_ID, ApiKey, Scope, digest_of, key_id_of, new_key
from core.service.domain.errors import KeyRefused, LongtakeError
from core.service.domain.ports import Clock
from core.service.settings import Settings

_CREDENTIALS = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]+)")
"""RFC 6750, 2.1: the scheme is case-insensitive (RFC 9110, 11.1)."""
VISITOR_SECONDS = 0.4
"""For the key of a request that needs none: /readyz answers within two seconds, and its checks take 1.5."""
_NO_TIME = datetime.min


class Access:
    """ASGI middleware: sets `request.state.caller`, or answers 401 or 403. Without LONGTAKE_ADMIN_KEY everybody may
    everything."""

    def __init__(self, app: ASGIApp, keys: KnownKeys, clock: Clock, settings: Settings) -> None:
        self._app = app
        self._keys = keys
        self._clock = clock
        self._admin = admin_of(settings)
        self._scraper = _scraper_of(settings)
        self._decoy = _key("", Scope.READ, new_key().text)

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope.setdefault("state", {})["caller"] = await self._caller(scope)
            except LongtakeError as error:
                note(Request(scope), error)
                await response_of(error, prefix=prefix_of(scope))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _caller(self, scope: Connection) -> Caller:
        """Raises KeyRefused, ScopeMissing, StoreError, StorageError."""
        if self._admin is None:
            return EVERYBODY
        method, path = scope["method"], path_of(scope)
        needed = scope_of(method, path)
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if needed is None:
            return await self._visitor(_credentials(given), self._admin) if tells_operators_more(path) else NOBODY
        if not given and takes_link_token(method, path) and (token := _link_token(scope["query_string"])):
            return Caller(token=token)
        if self._scraper is not None and path == METRICS and _is(self._scraper, _credentials(given)):
            return Caller(key=self._scraper)
        caller = Caller(key=await self._key_of(_credentials(given), self._admin))
        check_scope(caller, needed)
        return caller

    async def _visitor(self, text: str, admin: ApiKey) -> Caller:
        """The caller of a path that is open to all: the holder of an admin's key, or NOBODY, whose key can be wrong and
        need not be known in time."""
        with suppress(LongtakeError, TimeoutError):
            async with timeout(VISITOR_SECONDS):
                key = await self._key_of(text, admin)
            return Caller(key=key) if key.may(Scope.ADMIN) else NOBODY
        return NOBODY

    async def _key_of(self, text: str, admin: ApiKey) -> ApiKey:
        """The valid key with this text. The same work for every wrong text. Raises KeyRefused."""
        if _is(admin, text):
            return admin
        key_id = key_id_of(text)
        found = await self._keys.get(key_id) if key_id else None
        is_valid = (found or self._decoy).has_text(text, self._clock.now())
        if found is None or not is_valid:
            raise KeyRefused
        return found


def admin_of(settings: Settings) -> ApiKey | None:
    """The operator's own key; None: everybody may everything."""
    return None if settings.admin_key is None else _key(ADMIN_ID, Scope.ADMIN, settings.admin_key.get_secret_value())


def _scraper_of(settings: Settings) -> ApiKey | None:
    """The key of Prometheus; the caller is asked for it at METRICS only."""
    key = settings.metrics_key
    return None if key is None else _key("metrics", Scope.ADMIN, key.get_secret_value())


def _is(key: ApiKey, text: str) -> bool:
    return hmac.compare_digest(digest_of(text), key.text_sha256)


def _key(key_id: str, scope: Scope, text: str) -> ApiKey:
    """A key that is not stored. Its webhooks are signed with LONGTAKE_WEBHOOK_SECRET."""
    return ApiKey(
        id=key_id,
        name="the operator",
        scope=scope,
        text_sha256=digest_of(text),
        webhook_secret="",
        created_at=_NO_TIME,
    )


def _credentials(given: list[bytes]) -> str:
    """The text of the key in an Authorization header; empty if there is not exactly one that has the right form."""
    found = _CREDENTIALS.fullmatch(given[0].decode("latin-1")) if len(given) == 1 else None
    return found[1] if found else ""


def _link_token(query: bytes) -> str | None:
    """The value of `token`, if it is given once."""
    values = QueryParams(query).getlist("token")
    return values[0] if len(values) == 1 else None
