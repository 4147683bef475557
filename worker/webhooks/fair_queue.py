"""A fair queue: limits how many webhooks run at a time in all, for one receiver, one domain, one address and retries.

Also bounds how many wait, and spreads out when those that found no room are taken again. Pure counting: no delivery,
clock or thread.
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
K = TypeVar("K")
WAITING_PER_RUNNING = 2
"""Limit of waiting items for each that may run: enough work until more are taken from the outbox."""
MAX_WAITING = 2000
"""Limit of all waiting items. Beyond it each owner may have one."""
RETURNS_PER_SECOND, ALL_RETURNS_PER_SECOND = 100.0, 1000.0
"""How many items without room are taken again per second: for one full limit, and in all."""
MIN_RETURN_SECONDS, MAX_RETURN_SECONDS = 1.0, 60.0
_ADDRESS_PREFIX = "address "
"""Prefix of an owner that is known by address only."""


class QueueKey(NamedTuple):
    """A receiver (`host:port`), first attempts or retries, and its owner: registrable domain, else address."""

    receiver: str
    is_retry: bool
    owner: str

    @staticmethod
    def of(host: str, port: int, *, is_retry: bool) -> QueueKey:
        owner = domain_of(host) or f"{_ADDRESS_PREFIX}{client_network(host)}" if host else ""
        return QueueKey(f"{host}:{port}", is_retry, owner)

    @property
    def waiting_group(self) -> tuple[str, bool]:
        return self.owner, self.is_retry


class AddressBusy(Exception):
    """The address has as many webhooks as it may have."""


@dataclass(frozen=True)
class Limits:
    """How many may run at a time."""

    total: int
    per_receiver: int
    per_domain: int
    per_address: int

    @property
    def retries(self) -> int:
        """Half of all: receivers that never answer must not delay first attempts."""
        return max(1, self.total // 2)

    def of_owner(self, key: QueueKey) -> int:
        return self.per_address if key.owner.startswith(_ADDRESS_PREFIX) else self.per_domain


@dataclass
class FairQueue(Generic[T]):
    """Waiting and running items by key. Keys take turns; the key whose owner has the fewest running goes first."""

    limits: Limits
    _waiting: OrderedDict[QueueKey, deque[T]] = field(default_factory=OrderedDict[QueueKey, "deque[T]"])
    _group_waiting: Counter[tuple[str, bool]] = field(default_factory=Counter[tuple[str, bool]])
    _running: Counter[str | bool] = field(default_factory=Counter[str | bool])
    """By receiver, by owner, and by whether it is a retry."""
    _addresses: Counter[str] = field(default_factory=Counter[str])

    def full(self, key: QueueKey) -> str | None:
        """Whose limit has no room for another waiting item: the receiver, its owner, or "" (all). None if none is
        full."""
        waiting = self._group_waiting[key.waiting_group]
        if waiting >= WAITING_PER_RUNNING * self.limits.of_owner(key):
            return key.owner
        if waiting and self._group_waiting.total() >= MAX_WAITING:
            return ""
        of_key = len(self._waiting.get(key, ()))
        return key.receiver if of_key >= WAITING_PER_RUNNING * self.limits.per_receiver else None

    def add(self, key: QueueKey, item: T) -> None:
        self._waiting.setdefault(key, deque()).append(item)
        self._group_waiting[key.waiting_group] += 1

    def remove(self, key: QueueKey, item: T) -> None:
        """Remove a waiting item. No-op if it does not wait."""
        if item in self._waiting.get(key, ()):
            self._waiting[key].remove(item)
            self._count_removed(key)

    def remove_all(self) -> list[T]:
        """Remove and return all waiting items."""
        items = [item for waiting in self._waiting.values() for item in waiting]
        self._waiting.clear()
        self._group_waiting.clear()
        return items

    def start(self) -> Iterator[tuple[QueueKey, T]]:
        """Take every item that may run now, one of each key in turn. Call `finish` for each when it has ended."""
        while (key := self._next_key()) is not None:
            item = self._waiting[key].popleft()
            self._waiting.move_to_end(key)
            self._count_removed(key)
            self._running.update((key.receiver, key.owner, key.is_retry))
            yield key, item

    def finish(self, key: QueueKey) -> None:
        for one in (key.receiver, key.owner, key.is_retry):
            _decrement(self._running, one)

    @contextmanager
    def hold_addresses(self, addresses: Sequence[str]) -> Generator[None]:
        """Count one running webhook for each address. Raises AddressBusy if one is at its limit."""
        networks = {client_network(address) for address in addresses}
        if any(self._addresses[network] >= self.limits.per_address for network in networks):
            raise AddressBusy
        self._addresses.update(networks)
        try:
            yield
        finally:
            for network in networks:
                _decrement(self._addresses, network)

    def _next_key(self) -> QueueKey | None:
        if self._running[False] + self._running[True] >= self.limits.total:
            return None
        ready = (key for key in self._waiting if self._may_run(key))
        return min(ready, key=lambda key: self._running[key.owner], default=None)

    def _may_run(self, key: QueueKey) -> bool:
        if self._running[key.receiver] >= self.limits.per_receiver:
            return False
        if self._running[key.owner] >= self.limits.of_owner(key):
            return False
        return not key.is_retry or self._running[True] < self.limits.retries

    def _count_removed(self, key: QueueKey) -> None:
        _decrement(self._group_waiting, key.waiting_group)
        if not self._waiting[key]:
            del self._waiting[key]


@dataclass
class ReturnTimes:
    """When items without room are taken again: spread out in time, so that a long backlog costs little.

    Times are seconds of one monotonic clock.
    """

    _next: dict[str, float] = field(default_factory=dict[str, float])

    def delay_seconds(self, full: str, now: float) -> float:
        """The delay of another item that had no room. `full` is the result of FairQueue.full."""
        if len(self._next) >= MAX_WAITING:
            self._next = {key: at for key, at in self._next.items() if at > now}
        has_own = full and (full in self._next or len(self._next) < MAX_WAITING)
        own = self._reserve(full, RETURNS_PER_SECOND, now) if has_own else 0.0
        return min(max(own, self._reserve("", ALL_RETURNS_PER_SECOND, now)), MAX_RETURN_SECONDS)

    def _reserve(self, key: str, per_second: float, now: float) -> float:
        at = max(self._next.get(key, 0.0), now + MIN_RETURN_SECONDS)
        self._next[key] = min(at + 1 / per_second, now + MAX_RETURN_SECONDS)
        return at - now


def _decrement(counter: Counter[K], key: K) -> None:
    """Count down and keep no zeros."""
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
