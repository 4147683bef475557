"""Resolves host names within a time limit. The system's resolver has none: with a dead name server it blocks its thread
for ten seconds and more.

Look-ups run in threads of their own. Their number is limited in all, per domain and per client, so that a dead name
server affects only its domain, and a client with many such names only itself. Look-ups over a limit wait.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

from core.service.domain.addresses import is_address
from core.service.domain.errors import NameServiceUnavailable, shortened
from core.service.net.address_guard import Resolve, resolve_host
from core.service.settings import Settings

REQUEST_SECONDS = 1.5
"""Time limit while an HTTP client waits."""
WORKER_SECONDS = 5.0
"""Time limit of workers that fetch media or send webhooks."""
LOOK_SECONDS = 0.05
"""Polling interval on an event loop while a limit is reached."""
MAX_LOOKUPS, MAX_LOOKUPS_PER_DOMAIN, MAX_LOOKUPS_PER_CLIENT = 128, 8, 32
_LONGEST_SECOND_LEVEL = 3
"""Longest second-level label under a country code that counts as public, as in co.uk."""


class LookupsBusy(NameServiceUnavailable):
    """Too many host names are being looked up."""


@dataclass(frozen=True)
class _Lookup:
    """A running look-up, with the domain and client ("" for none) that it counts for."""

    domain: str
    client: str
    found: Future[Sequence[str]] = field(default_factory=Future[Sequence[str]])


class BoundedResolver:
    """address_guard.Resolve with limits. Raises NameServiceUnavailable after `seconds`, and LookupsBusy if too many
    look-ups were running until then: in all, for the name's domain, or for the client. Concurrent look-ups of one name
    are shared."""

    def __init__(
        self,
        seconds: float = REQUEST_SECONDS,
        resolve: Resolve = resolve_host,
        max_lookups: int = MAX_LOOKUPS,
        max_per_domain: int = MAX_LOOKUPS_PER_DOMAIN,
        max_per_client: int = MAX_LOOKUPS_PER_CLIENT,
    ) -> None:
        self._seconds = seconds
        self._resolve = resolve
        self._max_lookups = max_lookups
        self._max_per_domain = max_per_domain
        self._max_per_client = max_per_client
        self._lock = threading.Condition()
        """Notified when a look-up has ended."""
        self._running: dict[tuple[str, int], _Lookup] = {}
        self._per_domain, self._per_client = Counter[str](), Counter[str]()

    @staticmethod
    def of(settings: Settings, seconds: float) -> BoundedResolver:
        """A resolver with the limits in the settings."""
        return BoundedResolver(
            seconds,
            resolve_host,
            settings.max_name_lookups,
            settings.max_name_lookups_per_domain,
            settings.max_name_lookups_per_client,
        )

    def __call__(self, host: str, port: int) -> Sequence[str]:
        return self.within(host, port, self._seconds)

    def within(self, host: str, port: int, seconds: float) -> Sequence[str]:
        """Blocking look-up with a time limit of `seconds`."""
        deadline = time.monotonic() + seconds
        try:
            while (found := self._lookup(host, port)) is None:
                self._wait_for_room(host, deadline)
            return found.result(max(deadline - time.monotonic(), 0.0))
        except FutureTimeoutError as error:
            raise _late(seconds) from error
        except socket.gaierror as error:
            raise _translated(error) from error

    async def ask(self, host: str, port: int, room_seconds: float | None = None, client: str = "") -> Sequence[str]:
        """Look-up on an event loop. Waits at most `room_seconds` for a free slot. `client` is who the look-up counts
        for, if anyone."""
        deadline = time.monotonic() + (self._seconds if room_seconds is None else room_seconds)
        found: Future[Sequence[str]] | None = None
        try:
            async with asyncio.timeout(self._seconds):
                while (found := self._lookup(host, port, client)) is None:
                    if time.monotonic() >= deadline:
                        raise self._busy(host, client)
                    await asyncio.sleep(LOOK_SECONDS)
                return await asyncio.wrap_future(found)
        except TimeoutError as error:
            raise (_late(self._seconds) if found else self._busy(host, client)) from error
        except socket.gaierror as error:
            raise _translated(error) from error

    def _lookup(self, host: str, port: int, client: str = "") -> Future[Sequence[str]] | None:
        """The running or a new look-up; None if a limit is reached."""
        domain = domain_of(host)
        if not domain:
            return self._read(host, port)
        with self._lock:
            running = self._running.get((host, port))
            if running is not None:
                return running.found
            if self._is_full(domain, client):
                return None
            found = (begun := _Lookup(domain, client)).found
            found.set_running_or_notify_cancel()  # so that a caller that stops waiting does not cancel it for others
            self._running[host, port] = begun
            self._per_domain[domain] += 1
            self._per_client[client] += 1
        self._start(host, port, found)
        return found

    def _start(self, host: str, port: int, found: Future[Sequence[str]]) -> None:
        try:
            threading.Thread(target=self._run, args=(host, port, found), name="resolver", daemon=True).start()
        except (RuntimeError, MemoryError):
            self._forget(host, port)
            why = "the process cannot start a thread"
            found.set_exception(LookupsBusy(_UNAVAILABLE.format(why), fix="try again later"))

    def _read(self, host: str, port: int) -> Future[Sequence[str]]:
        """Result for an IP address, which needs no name server."""
        done = Future[Sequence[str]]()
        try:
            done.set_result(self._resolve(host, port))
        except OSError as error:
            done.set_exception(error)
        return done

    def _is_full(self, domain: str, client: str = "") -> bool:
        return (
            len(self._running) >= self._max_lookups
            or self._per_domain[domain] >= self._max_per_domain
            or self._is_client_full(client)
        )

    def _is_client_full(self, client: str) -> bool:
        return bool(client) and self._per_client[client] >= self._max_per_client

    def _wait_for_room(self, host: str, deadline: float) -> None:
        """Wait for a free slot. Raises LookupsBusy after `deadline` (time.monotonic)."""
        with self._lock:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._busy(host)
            if self._is_full(domain_of(host)):
                self._lock.wait(left)

    def _busy(self, host: str, client: str = "") -> LookupsBusy:
        why = f"too many look-ups under {shortened(domain_of(host))} hang"
        if len(self._running) >= self._max_lookups:
            why = "too many lookups are under way"
        elif self._is_client_full(client):
            why = "too many look-ups for your address hang"
        return LookupsBusy(_UNAVAILABLE.format(why), fix="try again later")

    def _run(self, host: str, port: int, found: Future[Sequence[str]]) -> None:
        addresses, failure = list[str](), None
        try:
            addresses = list(self._resolve(host, port))
        except BaseException as error:  # the thread's outermost frame: the waiting callers get it
            failure = error
        self._forget(host, port)
        if failure is None:
            found.set_result(addresses)
        else:
            found.set_exception(failure)

    def _forget(self, host: str, port: int) -> None:
        with self._lock:
            ended = self._running.pop((host, port))
            for running, whose in ((self._per_domain, ended.domain), (self._per_client, ended.client)):
                running[whose] -= 1
                if running[whose] <= 0:
                    del running[whose]
            self._lock.notify_all()


def domain_of(host: str) -> str:
    """The registered domain of a host name, by a heuristic: `example.com` of `a.b.example.com`, `example.co.uk` of
    `a.example.co.uk`. "" for an IP address."""
    if is_address(host):
        return ""
    labels = host.rstrip(".").lower().split(".")
    below_country = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= _LONGEST_SECOND_LEVEL
    return ".".join(labels[-3 if below_country else -2 :])


_UNAVAILABLE = "host names cannot be looked up at the moment: {}"


def _late(seconds: float) -> NameServiceUnavailable:
    return NameServiceUnavailable(_UNAVAILABLE.format(f"no answer within {seconds:g} s"), fix="try again later")


def _translated(error: socket.gaierror) -> Exception:
    """NameServiceUnavailable for a temporary failure, else `error` itself."""
    if error.errno == socket.EAI_AGAIN:
        return NameServiceUnavailable(_UNAVAILABLE.format("a temporary failure"), fix="try again later")
    return error


def check_name(host: str | None, port: int | None, seconds: float) -> None:
    """Look `host` up within `seconds`, so that a client library's own look-up right after, which has no time limit, is
    fast. Raises socket.gaierror if there is no such name or no answer in time."""
    if not host or is_address(host):
        return
    try:
        _server_names.within(host, port or 0, seconds)
    except NameServiceUnavailable as error:
        raise socket.gaierror(socket.EAI_AGAIN, error.message) from error


_server_names = BoundedResolver()
