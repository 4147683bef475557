"""Concurrency limits of an API process, in all and per client: event streams, videos being sent, waiting playlists.

No kind of request can take all resources, and no client can take them from the others.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.service.domain.addresses import client_network
from core.service.domain.errors import LongtakeError
from core.service.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Scope

_FILES_FOR_REQUESTS = 256
"""Open files for what has no limit of its own: other requests, connections to Redis and S3."""
_log = logging.getLogger(__name__)


class ConcurrencyLimit:
    """Counts what is in use, in all and per client. Not thread-safe: for one event loop."""

    def __init__(self, total: int, per_client: int) -> None:
        self.total = total
        self.per_client = per_client
        self._of_client = Counter[str]()

    @property
    def in_use(self) -> int:
        return self._of_client.total()

    def has_room(self, client: str) -> bool:
        """Whether `client` (see `client_of`) may use another one now."""
        return self.in_use < self.total and self._of_client[client] < self.per_client

    @contextmanager
    def hold(self, client: str) -> Generator[None]:
        """Count one in use, whether there is room or not."""
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]


@dataclass(frozen=True)
class Refusal:
    """The errors of a full limit. `in_use` is for the message, as in "5 event streams are open"."""

    in_use: str
    fix: str
    of_all: type[LongtakeError]
    of_client: type[LongtakeError]


class EnforcedLimit(ConcurrencyLimit):
    """A limit that raises when it is full."""

    def __init__(self, total: int, per_client: int, refusal: Refusal) -> None:
        super().__init__(total, per_client)
        self._refusal = refusal

    def check(self, client: str) -> None:
        """Raises the refusal's error if `client` may not use another one."""
        refusal = self._refusal
        if self.in_use >= self.total:
            raise refusal.of_all(f"{self.total} {refusal.in_use} already", fix=refusal.fix)
        if not self.has_room(client):
            message = f"{self.per_client} {refusal.in_use} for your address already"
            raise refusal.of_client(message, fix=refusal.fix)

    @contextmanager
    def enter(self, client: str) -> Generator[None]:
        """Count one in use. Raises as `check`."""
        self.check(client)
        with self.hold(client):
            yield

    def reduce_to(self, files: int) -> None:
        """Lower the limit to the number of files that may be open; each use is one open file."""
        fitting = max(1, files)
        if fitting < self.total:
            _log.warning("at most %d instead of %d %s: the limit of open files (ulimit -n) is too low",
                         fitting, self.total, self._refusal.in_use)  # fmt: skip
            self.total = fitting


def client_of(scope: Scope) -> str:
    """The client: the peer's address, or the one that a trusted proxy names, as addresses.client_network."""
    return client_network(address_of_client(scope))


def address_of_client(scope: Scope) -> str:
    """Its whole address; empty if there is none, as behind a Unix socket."""
    return str((scope.get("client") or ("",))[0])


def reserved_open_files(settings: Settings) -> int:
    """Open files that event streams must leave free. A video being sent is two: client and storage."""
    return 2 * settings.max_media_streams + settings.max_playlist_waits + _FILES_FOR_REQUESTS


def raise_open_file_limit() -> int:
    """Raise the soft limit of open files (RLIMIT_NOFILE) to the hard limit; returns the new limit.

    Each stream is an open file, and the default of many systems is 1,024.
    """
    try:
        import resource  # not on Windows
    except ImportError:
        return 1 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 1 << 20 if soft == unlimited else soft
