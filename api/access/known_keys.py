"""Keys as they were within the last second, so that most requests read none."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Annotated, cast

from fastapi import Depends, Request

from api.backends.looks import Together
from core.service.domain.api_keys import ApiKey
from core.service.domain.ports import ApiKeys, Clock

KNOWN_SECONDS = timedelta(seconds=1)
"""How long a key that was revoked elsewhere is accepted, at most."""
MAX_KNOWN = 10_000
"""Ids that are remembered, also those that do not exist: whoever makes them up cannot fill the memory."""


class KnownKeys:
    """ports.ApiKeys for coroutines: `get` reads many at once, and each id once a second."""

    def __init__(self, keys: ApiKeys, clock: Clock) -> None:
        self._reads = Together(keys.find)
        self._clock = clock
        self._known: OrderedDict[str, tuple[datetime, ApiKey | None]] = OrderedDict()

    async def get(self, key_id: str) -> ApiKey | None:
        """The key, revoked or not; None if there is none. Raises StoreError, StorageError."""
        asked_at = self._clock.now()
        read_at, key = self._known.get(key_id, (None, None))
        if read_at is not None and timedelta() <= asked_at - read_at < KNOWN_SECONDS:  # a clock may be set back
            return key
        key = await self._reads.get(key_id)
        self._remember(key_id, asked_at, key)
        return key

    def forget(self, key_id: str) -> None:
        """Read the key anew for the next request: it was changed here."""
        self._known.pop(key_id, None)

    def _remember(self, key_id: str, read_at: datetime, key: ApiKey | None) -> None:
        self._known[key_id] = read_at, key
        self._known.move_to_end(key_id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def known_keys_of(request: Request) -> KnownKeys:
    """Those of the application."""
    return cast(KnownKeys, request.app.state.known_keys)


async def _known_keys(request: Request) -> KnownKeys:
    return known_keys_of(request)


KnownKeysDep = Annotated[KnownKeys, Depends(_known_keys)]
