"""Names to addresses within a time limit. The system's resolver has none: with a dead name server it takes ten seconds
and more, and whoever asked holds a thread for so long. Knows no HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from ipaddress import ip_address

from core.service.address_guard import Resolve, resolve_host
from core.service.errors import NameServiceUnavailable

REQUEST_SECONDS = 1.5
MAX_LOOKUPS = 64
"""Lookups at a time in one process; with so many under way the name server is not answering anyway."""


class BoundedResolver:
    """address_guard.Resolve with a limit: raises NameServiceUnavailable after `seconds`, or at once while too many
    lookups hang. The same name is looked up once at a time."""

    def __init__(
        self, seconds: float = REQUEST_SECONDS, resolve: Resolve = resolve_host, max_lookups: int = MAX_LOOKUPS
    ) -> None:
        self._seconds = seconds
        self._resolve = resolve
        self._max_lookups = max_lookups
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], Future[Sequence[str]]] = {}

    def __call__(self, host: str, port: int) -> Sequence[str]:
        return self.within(host, port, self._seconds)

    def within(self, host: str, port: int, seconds: float) -> Sequence[str]:
        """The same with another limit."""
        try:
            return self._lookup(host, port).result(seconds)
        except FutureTimeoutError as error:
            raise self._unavailable(f"no answer within {seconds:g} s") from error
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise self._unavailable("a temporary failure") from error
            raise

    def _lookup(self, host: str, port: int) -> Future[Sequence[str]]:
        with self._lock:
            running = self._running.get((host, port))
            if running is not None:
                return running
            if len(self._running) >= self._max_lookups:
                raise self._unavailable("too many lookups are under way")
            running = self._running[host, port] = Future()
        threading.Thread(target=self._run, args=(host, port, running), name="resolver", daemon=True).start()
        return running

    def _run(self, host: str, port: int, running: Future[Sequence[str]]) -> None:
        try:
            running.set_result(self._resolve(host, port))
        except BaseException as error:  # the thread's outermost frame: whoever waits gets it
            running.set_exception(error)
        finally:
            with self._lock:
                del self._running[host, port]

    @staticmethod
    def _unavailable(why: str) -> NameServiceUnavailable:
        return NameServiceUnavailable(f"host names cannot be looked up at the moment: {why}", fix="try again later")


def check_name(host: str | None, port: int | None, seconds: float) -> None:
    """Return once `host` can be looked up; a look-up right after that is answered from a cache or as fast. Raises
    socket.gaierror where there is no such name or no answer within `seconds`."""
    if not host or _is_address(host):
        return
    try:
        _names_of_servers.within(host, port or 0, seconds)
    except NameServiceUnavailable as error:
        raise socket.gaierror(socket.EAI_AGAIN, error.message) from error


_names_of_servers = BoundedResolver()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
