"""How many event streams one API process holds open, in all and for one client: each takes a place first.

An open stream costs a socket and some memory, no thread and no Redis connection. Knows no job.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.service.errors import TooManyStreams, TooManyStreamsOfClient

if TYPE_CHECKING:
    from starlette.types import Scope

FILES_FOR_OTHERS = 512
"""Open files that streams leave to other requests, and to connections with Redis and S3."""
_HALF_OF_IPV6 = 64
_log = logging.getLogger(__name__)


class StreamSlots:
    """Places of all streams of a process. Not thread-safe: used on one event loop."""

    def __init__(self, limit: int, limit_of_client: int) -> None:
        self.limit = limit
        self._limit_of_client = limit_of_client
        self._of_client = Counter[str]()

    @property
    def taken(self) -> int:
        return self._of_client.total()

    def check(self, client: str) -> None:
        """Raises TooManyStreams or TooManyStreamsOfClient where there is no place."""
        fix = "close streams that nobody reads, or poll links.self with If-None-Match"
        if self.taken >= self.limit:
            raise TooManyStreams(f"{self.limit} event streams are open on this server", fix=fix)
        if self._of_client[client] >= self._limit_of_client:
            held = f"{self._limit_of_client} event streams are open from your address"
            raise TooManyStreamsOfClient(held, fix=fix)

    @contextmanager
    def place(self, client: str) -> Generator[None]:
        """Hold a place. Raises as `check`."""
        self.check(client)
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]

    def fit_to(self, open_files: int) -> None:
        """Lower the limit where the process may not open as many files."""
        fitting = max(1, open_files - FILES_FOR_OTHERS)
        if fitting < self.limit:
            _log.warning("only %d event streams instead of %d: the process may open %d files (ulimit -n)",
                         fitting, self.limit, open_files)  # fmt: skip
            self.limit = fitting


def client_of(scope: Scope) -> str:
    """Whose stream it is: the peer's address, of IPv6 the network of 64 bits that one client usually has."""
    host = str((scope.get("client") or ("",))[0])
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.version == 6 and address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), _HALF_OF_IPV6), strict=False))
    return host


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
