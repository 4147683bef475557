"""Names to addresses within a time limit. The system's resolver has none: with a dead name server it takes ten seconds
and more, and whoever asked holds a thread for so long. Knows no HTTP.

Look-ups run in threads of their own, so many at a time and no more, and only a share of these below one domain and for
one client: a name server that never answers costs its own domain's clients, and a client with many such names costs
itself, not others. Whoever finds no room waits for it, within the limit.
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
"""An HTTP client waits for the answer."""
WORKER_SECONDS = 5.0
"""A worker that fetches or sends may wait for a slow name server."""
LOOK_SECONDS = 0.05
"""Pause between two looks for room on an event loop."""
MAX_LOOKUPS, MAX_LOOKUPS_PER_DOMAIN, MAX_LOOKUPS_PER_CLIENT = 128, 8, 32
_LONGEST_SECOND_LEVEL = 3
"""Of a country's second-level domain, as in co.uk: a label so short below two letters is no customer's domain."""


class LookupsBusy(NameServiceUnavailable):
    """Too many host names are being looked up."""


@dataclass(frozen=True)
class _Lookup:
    """One that is under way, and whose shares it takes from; "" has none."""

    domain: str
    client: str
    found: Future[Sequence[str]] = field(default_factory=Future[Sequence[str]])


class BoundedResolver:
    """address_guard.Resolve with limits: raises NameServiceUnavailable after `seconds`, LookupsBusy where until then
    too many lookups hang, at all, below the name's domain or for the same client. The same name is looked up once at a
    time."""

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
        """Notified when there is room again."""
        self._running: dict[tuple[str, int], _Lookup] = {}
        self._per_domain, self._per_client = Counter[str](), Counter[str]()

    @staticmethod
    def of(settings: Settings, seconds: float) -> BoundedResolver:
        """A pool of look-ups of its own, as large as the settings say."""
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
        """The same with another limit."""
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
        """The same on an event loop: waits without a thread, for room no longer than `room_seconds`. `client` is whose
        name it is, where clients have shares."""
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
        """The look-up, under way or begun now; None where there is no room for it."""
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
            found.set_running_or_notify_cancel()  # whoever stops waiting takes it from nobody else
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
            why = "the process may start no thread"
            found.set_exception(LookupsBusy(_UNAVAILABLE.format(why), fix="try again later"))

    def _read(self, host: str, port: int) -> Future[Sequence[str]]:
        """Of an address, which no name server is asked for."""
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
            or self._has_its_share(client)
        )

    def _has_its_share(self, client: str) -> bool:
        return bool(client) and self._per_client[client] >= self._max_per_client

    def _wait_for_room(self, host: str, deadline: float) -> None:
        """Return where there may be some. Raises LookupsBusy after `deadline` (time.monotonic)."""
        with self._lock:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._busy(host)
            if self._is_full(domain_of(host)):
                self._lock.wait(left)

    def _busy(self, host: str, client: str = "") -> LookupsBusy:
        why = f"too many names below {shortened(domain_of(host))} hang"
        if len(self._running) >= self._max_lookups:
            why = "too many lookups are under way"
        elif self._has_its_share(client):
            why = "too many names that your address gave hang"
        return LookupsBusy(_UNAVAILABLE.format(why), fix="try again later")

    def _run(self, host: str, port: int, found: Future[Sequence[str]]) -> None:
        addresses, failure = list[str](), None
        try:
            addresses = list(self._resolve(host, port))
        except BaseException as error:  # the thread's outermost frame: whoever waits gets it
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
    """The part of a name that one owner's name servers answer for, as far as its looks tell: `example.com` of
    `a.b.example.com`, `example.co.uk` of `a.example.co.uk`. "" for an address, which no name server is asked for."""
    if is_address(host):
        return ""
    labels = host.rstrip(".").lower().split(".")
    below_country = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= _LONGEST_SECOND_LEVEL
    return ".".join(labels[-3 if below_country else -2 :])


_UNAVAILABLE = "host names cannot be looked up at the moment: {}"


def _late(seconds: float) -> NameServiceUnavailable:
    return NameServiceUnavailable(_UNAVAILABLE.format(f"no answer within {seconds:g} s"), fix="try again later")


def _translated(error: socket.gaierror) -> Exception:
    """A temporary failure is no fault of the name."""
    if error.errno == socket.EAI_AGAIN:
        return NameServiceUnavailable(_UNAVAILABLE.format("a temporary failure"), fix="try again later")
    return error


def check_name(host: str | None, port: int | None, seconds: float) -> None:
    """Return once `host` can be looked up; a look-up right after that is answered from a cache or as fast. Raises
    socket.gaierror where there is no such name or no answer within `seconds`."""
    if not host or is_address(host):
        return
    try:
        _names_of_servers.within(host, port or 0, seconds)
    except NameServiceUnavailable as error:
        raise socket.gaierror(socket.EAI_AGAIN, error.message) from error


_names_of_servers = BoundedResolver()
