"""Who may send next: so many webhooks at a time, and of these only a share to one receiver, to one address, and for
second and later tries. Pure counting; knows no delivery, no time and no thread.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Generic, TypeVar

T = TypeVar("T")
Line = tuple[str, bool]
"""Where deliveries wait: their receiver, and whether they have been tried before."""
_IPV6_OWNER_BITS = 64
"""One customer of a provider has at least a network of this size."""


class AddressBusy(Exception):
    """The address has its share already."""


@dataclass(frozen=True)
class Shares:
    """How many at a time. Tries after the first take half of all at most: those that never answered before must not
    keep new ones waiting."""

    total: int
    per_receiver: int
    per_address: int

    @property
    def tried_before(self) -> int:
        return max(1, self.total // 2)


@dataclass
class Lines(Generic[T]):
    """What waits and what is on its way, line by line; lines are served in turn."""

    shares: Shares
    _waiting: OrderedDict[Line, deque[T]] = field(default_factory=OrderedDict[Line, "deque[T]"])
    _running: Counter[Line] = field(default_factory=Counter[Line])
    _addresses: Counter[str] = field(default_factory=Counter[str])

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def length(self, line: Line) -> int:
        return len(self._waiting.get(line, ()))

    def add(self, line: Line, item: T) -> None:
        self._waiting.setdefault(line, deque()).append(item)

    def remove_all(self) -> list[T]:
        """What waits, which waits no more."""
        items = [item for line in self._waiting.values() for item in line]
        self._waiting.clear()
        return items

    def keep(self, identities: set[int]) -> None:
        """Forget what waits but whose `id` is not among these."""
        for line, items in list(self._waiting.items()):
            self._waiting[line] = deque(item for item in items if id(item) in identities)

    def start_next(self) -> Iterator[tuple[Line, T]]:
        """Take out whatever may start now, one of each line in turn. Whoever takes it calls `end` later."""
        while (line := self._next_line()) is not None:
            item = self._waiting[line].popleft()
            if self._waiting[line]:
                self._waiting.move_to_end(line)
            else:
                del self._waiting[line]
            self._running[line] += 1
            yield line, item

    def end(self, line: Line) -> None:
        self._running[line] -= 1
        if self._running[line] <= 0:
            del self._running[line]

    @contextmanager
    def at_addresses(self, addresses: Sequence[str]) -> Generator[None]:
        """Hold a share of each address. Raises AddressBusy where one has none left."""
        owners = {_owner(address) for address in addresses}
        if any(self._addresses[owner] >= self.shares.per_address for owner in owners):
            raise AddressBusy
        self._addresses.update(owners)
        try:
            yield
        finally:
            self._addresses.subtract(owners)
            self._addresses += Counter()  # without those at zero

    def _next_line(self) -> Line | None:
        if self._running.total() >= self.shares.total:
            return None
        return next((line for line in self._waiting if self._waiting[line] and self._has_room(line)), None)

    def _has_room(self, line: Line) -> bool:
        receiver, tried = line
        to_receiver = self._running[receiver, False] + self._running[receiver, True]
        if to_receiver >= self.shares.per_receiver:
            return False
        num_tried = sum(count for (_, again), count in self._running.items() if again)
        return not tried or num_tried < self.shares.tried_before


def _owner(address: str) -> str:
    """An IPv4 address, or the network that an IPv6 address shares with others of its owner."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        return str(ip_network((int(ip), _IPV6_OWNER_BITS), strict=False))
    return str(ip)
