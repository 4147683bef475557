"""Who may wait here and who may send next: so many webhooks at a time, and of these only a share to one receiver, to
all receivers of one domain, to one address, and for second and later tries; and when that comes back which has found
no room. Pure counting; knows no delivery, no clock and no thread.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from core.service.domain.addresses import client_network
from core.service.net.resolver import domain_of

T = TypeVar("T")
WAITING_PER_RUNNING = 2
"""So many wait for each that may be on its way: enough to go on with until more are taken."""
MAX_WAITING = 2000
"""Of all lines. Beyond that each domain has one."""
RETURNS_PER_SECOND, ALL_RETURNS_PER_SECOND = 100.0, 1000.0
"""How fast what one full line or domain has no room for comes back, and what all of them have."""
FIRST_RETURN_SECONDS, LAST_RETURN_SECONDS = 1.0, 60.0


class Line(NamedTuple):
    """Where deliveries wait: host and port, whether they were tried before, and whose host it is."""

    receiver: str
    tried: bool
    owner: str

    @staticmethod
    def of(host: str, port: int, *, tried: bool) -> Line:
        return Line(f"{host}:{port}", tried, domain_of(host) or f"{_ADDRESS}{client_network(host)}" if host else "")

    @property
    def owners_waiting(self) -> tuple[str, bool]:
        return self.owner, self.tried


_ADDRESS = "address "
"""So begins an owner of whom only an address is known."""


class AddressBusy(Exception):
    """The address has its share already."""


@dataclass(frozen=True)
class Shares:
    """How many at a time. Tries after the first take half of all at most: those that never answered before must not
    keep new ones waiting."""

    total: int
    per_receiver: int
    per_domain: int
    per_address: int

    @property
    def tried_before(self) -> int:
        return max(1, self.total // 2)

    def of_owner(self, line: Line) -> int:
        return self.per_address if line.owner.startswith(_ADDRESS) else self.per_domain


@dataclass
class Lines(Generic[T]):
    """What waits and what is on its way, line by line. Served in turn, those first whose owners have least."""

    shares: Shares
    _waiting: OrderedDict[Line, deque[T]] = field(default_factory=OrderedDict[Line, "deque[T]"])
    _owners_waiting: Counter[tuple[str, bool]] = field(default_factory=Counter[tuple[str, bool]])
    _running: Counter[str | bool] = field(default_factory=Counter[str | bool])
    """By receiver, by owner, and by whether it was tried before."""
    _addresses: Counter[str] = field(default_factory=Counter[str])

    def full(self, line: Line) -> str | None:
        """What has no room for one more to wait: the receiver, its owner, or "" for all. None where there is room."""
        waiting = self._owners_waiting[line.owners_waiting]
        if waiting >= WAITING_PER_RUNNING * self.shares.of_owner(line):
            return line.owner
        if waiting and self._owners_waiting.total() >= MAX_WAITING:
            return ""
        of_line = len(self._waiting.get(line, ()))
        return line.receiver if of_line >= WAITING_PER_RUNNING * self.shares.per_receiver else None

    def add(self, line: Line, item: T) -> None:
        self._waiting.setdefault(line, deque()).append(item)
        self._owners_waiting[line.owners_waiting] += 1

    def remove(self, line: Line, item: T) -> None:
        """It waits no more, if it did."""
        if item in self._waiting.get(line, ()):
            self._waiting[line].remove(item)
            self._forget_one(line)

    def remove_all(self) -> list[T]:
        """What waits, which waits no more."""
        items = [item for line in self._waiting.values() for item in line]
        self._waiting.clear()
        self._owners_waiting.clear()
        return items

    def start_next(self) -> Iterator[tuple[Line, T]]:
        """Take out whatever may start now, one of each line in turn. Whoever takes it calls `end` later."""
        while (line := self._next_line()) is not None:
            item = self._waiting[line].popleft()
            self._waiting.move_to_end(line)
            self._forget_one(line)
            self._running.update((line.receiver, line.owner, line.tried))
            yield line, item

    def end(self, line: Line) -> None:
        for one in (line.receiver, line.owner, line.tried):
            _count_down(self._running, one)

    @contextmanager
    def at_addresses(self, addresses: Sequence[str]) -> Generator[None]:
        """Hold a share of each address. Raises AddressBusy where one has none left."""
        owners = {client_network(address) for address in addresses}
        if any(self._addresses[owner] >= self.shares.per_address for owner in owners):
            raise AddressBusy
        self._addresses.update(owners)
        try:
            yield
        finally:
            for owner in owners:
                _count_down(self._addresses, owner)

    def _next_line(self) -> Line | None:
        if self._running[False] + self._running[True] >= self.shares.total:
            return None
        able = (line for line in self._waiting if self._has_room(line))
        return min(able, key=lambda line: self._running[line.owner], default=None)

    def _has_room(self, line: Line) -> bool:
        if self._running[line.receiver] >= self.shares.per_receiver:
            return False
        if self._running[line.owner] >= self.shares.of_owner(line):
            return False
        return not line.tried or self._running[True] < self.shares.tried_before

    def _forget_one(self, line: Line) -> None:
        """One of the line waits no more."""
        _count_down(self._owners_waiting, line.owners_waiting)
        if not self._waiting[line]:
            del self._waiting[line]


@dataclass
class Returns:
    """When what has found no room comes back: one after the other, so that looking at a backlog again and again costs
    little, however long it is. Times are those of one steady clock, in seconds."""

    _next: dict[str, float] = field(default_factory=dict[str, float])

    def delay_seconds(self, full: str, now: float) -> float:
        """Of one more that `full` (of Lines) has no room for."""
        if len(self._next) >= MAX_WAITING:
            self._next = {key: at for key, at in self._next.items() if at > now}
        has_its_own = full and (full in self._next or len(self._next) < MAX_WAITING)
        of_its_own = self._queue(full, RETURNS_PER_SECOND, now) if has_its_own else 0.0
        return min(max(of_its_own, self._queue("", ALL_RETURNS_PER_SECOND, now)), LAST_RETURN_SECONDS)

    def _queue(self, key: str, per_second: float, now: float) -> float:
        at = max(self._next.get(key, 0.0), now + FIRST_RETURN_SECONDS)
        self._next[key] = min(at + 1 / per_second, now + LAST_RETURN_SECONDS)
        return at - now


K = TypeVar("K")


def _count_down(counter: Counter[K], key: K) -> None:
    """A counter that keeps no zeros."""
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
