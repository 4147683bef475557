"""How many of something one API process holds at a time, in all and for one client: event streams, videos being sent,
playlists held back. Each takes a place first, so none of them takes everything, and no client takes it from others.

Knows no job, and no more of what is held than its name.
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

_OTHER_FILES = 256
"""Open files of all that has no places of its own: other requests, connections with Redis and S3."""
_log = logging.getLogger(__name__)


class Places:
    """Places of one kind in a process. Not thread-safe: used on one event loop."""

    def __init__(self, limit: int, limit_of_client: int) -> None:
        self.limit = limit
        self.limit_of_client = limit_of_client
        self._of_client = Counter[str]()

    @property
    def taken(self) -> int:
        return self._of_client.total()

    def has_room(self, client: str) -> bool:
        """Whether `client` (see `client_of`) may take a place now."""
        return self.taken < self.limit and self._of_client[client] < self.limit_of_client

    @contextmanager
    def hold(self, client: str) -> Generator[None]:
        """Take a place, whether there is room or not."""
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]


@dataclass(frozen=True)
class Refusal:
    """What is said where there is no place: `held` as in "5 event streams are open", and an error for each limit."""

    held: str
    fix: str
    of_all: type[LongtakeError]
    of_client: type[LongtakeError]


class RefusingPlaces(Places):
    """Places whose lack is an error."""

    def __init__(self, limit: int, limit_of_client: int, refusal: Refusal) -> None:
        super().__init__(limit, limit_of_client)
        self._refusal = refusal

    def check(self, client: str) -> None:
        """Raises the refusal's error where `client` cannot have a place."""
        refusal = self._refusal
        if self.taken >= self.limit:
            raise refusal.of_all(f"{self.limit} {refusal.held} already", fix=refusal.fix)
        if not self.has_room(client):
            message = f"{self.limit_of_client} {refusal.held} for your address already"
            raise refusal.of_client(message, fix=refusal.fix)

    @contextmanager
    def place(self, client: str) -> Generator[None]:
        """Hold a place. Raises as `check`."""
        self.check(client)
        with self.hold(client):
            yield

    def fit_to(self, files: int) -> None:
        """Lower the limit where only so many files are left for these places, each of which is one."""
        fitting = max(1, files)
        if fitting < self.limit:
            _log.warning("at most %d instead of %d %s: the process may not open more files (ulimit -n)",
                         fitting, self.limit, self._refusal.held)  # fmt: skip
            self.limit = fitting


def client_of(scope: Scope) -> str:
    """Who holds a place: the peer of the connection, or whom a trusted proxy names, as addresses.client_network."""
    return client_network(str((scope.get("client") or ("",))[0]))


def files_for_others(settings: Settings) -> int:
    """Open files that event streams leave: a video being sent is two (the client, the storage)."""
    return 2 * settings.max_media_streams + settings.max_playlist_waits + _OTHER_FILES


def allow_open_files() -> int:
    """Raise the number of files that this process may open (RLIMIT_NOFILE) as far as it may itself; the new number.

    Each stream is an open file, and many systems begin with 1,024.
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
