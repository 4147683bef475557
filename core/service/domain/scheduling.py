"""Who is next: the policy by which a free worker chooses its next job. docs/scheduling.md says why; pure.

The Redis store applies the same policy with indexes, in one step (core.service.redis.schedule); this is the definition
that it is tested against, and what the fakes and the simulator use.

A pool is what competes for the same workers: one model's jobs on all lanes of its engines, or one lane of the CPU
workers. An owner is an API key ("" for jobs without one).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from core.service.domain.schema import Lane

QUANTUM_SECONDS = 5.0
"""Owners whose served seconds differ by no more than this count as equal: the one whose next job matters most goes
first, among those a job that the worker holds."""
URGENT_LAG_SECONDS = 300.0
"""An urgent job goes before those of other owners while its owner was served at most this much more than the least
served one: a stall that one chunk prevents is worse than an imbalance that the next minutes even out."""
URGENT_FRACTION = 0.25
"""A job is urgent while its viewers are ahead by less than this fraction of `ahead_seconds`, and not yet stalled."""
UNAGED_PICKS = 3
"""Picks by class between two jobs that have waited too long in a lower class: those get every fourth pick at most."""


class Priority(StrEnum):
    """Priority classes, the first served first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def number(self) -> int:
        """0 for the class that is served first."""
        return _CLASSES.index(self)


_CLASSES = tuple(Priority)


@dataclass(frozen=True)
class Entry:
    """A job in the queue of one lane, as the policy sees it. Times are seconds since 1970."""

    job_id: str
    lane: Lane
    owner: str
    priority: int
    """Priority.number."""
    begun: bool
    """Whether it has begun and has an end: it should be finished. One without an end waits in turn like a new one."""
    order: float
    """Equal ones go by this, lower first: when the job was created; of one without an end, when its newest chunk was
    made."""
    waits_since: float
    """Since when it could be claimed; decides on ageing."""
    stalls_at: float | None = None
    """When viewers who began with the first chunk have seen all there is; None: there is nothing to see yet."""

    @property
    def key(self) -> tuple[str, Lane]:
        return self.job_id, self.lane

    def ahead(self, now: float) -> float:
        """Seconds that viewers may still watch; below 0 once they have stalled."""
        return -float("inf") if self.stalls_at is None else self.stalls_at - now


class Group(IntEnum):
    """How an owner's jobs follow one another, the first served first."""

    URGENT = 0
    """Viewers stall soon: the one nearest to its stall."""
    BEGUN = 1
    """To be finished: the oldest, or the one nearest to a stall if the oldest one's viewers are well ahead."""
    NEW = 2
    """The oldest."""
    AHEAD = 3
    """All that has begun is well ahead of its viewers: the one nearest to a stall."""


@dataclass
class Account:
    """What an owner was served in a pool."""

    served: float = 0.0
    """Worker seconds divided by the owner's share."""
    waiting: int = 0
    """Jobs of it in the pool, claimed or not."""


@dataclass
class Pool:
    """The state of one pool beside its entries."""

    accounts: dict[str, Account] = field(default_factory=dict[str, Account])
    clock: float = 0.0
    """`served` of the owner that was chosen last: where an owner that was away begins again."""
    unaged: int = 0
    """Picks by class since the last pick by age."""


@dataclass(frozen=True)
class Policy:
    """The settings of the policy: LONGTAKE_AHEAD_SECONDS and LONGTAKE_AGEING_SECONDS."""

    ahead_seconds: float = 20.0
    ageing_seconds: float = 300.0

    @property
    def urgent_seconds(self) -> float:
        return self.ahead_seconds * URGENT_FRACTION


@dataclass(frozen=True)
class Choice:
    """The next job, and how it was chosen."""

    entry: Entry
    group: Group
    aged: bool = False


def choose(
    entries: Iterable[Entry], pool: Pool, policy: Policy, now: float, own: frozenset[tuple[str, Lane]] = frozenset()
) -> Choice | None:
    """The next job among `entries`, the free ones of the lanes that a worker serves. None if there are none.

    `own`: entries whose state this worker holds; among equals it goes on with one of them. Changes nothing: `record`
    notes the pick.
    """
    free = list(entries)
    if not free:
        return None
    first = min(entry.priority for entry in free)
    if pool.unaged >= UNAGED_PICKS and (aged := _longest_waiting(free, first, policy, now)):
        return Choice(aged, group_of(aged, policy, now), aged=True)
    of_class = [entry for entry in free if entry.priority == first]
    owners = sorted({entry.owner for entry in of_class}, key=lambda owner: (_served(pool, owner), owner))
    least = _served(pool, owners[0])
    if urgent := _most_urgent(of_class, pool, policy, now, least):
        return Choice(urgent, Group.URGENT)
    equal = [owner for owner in owners if _served(pool, owner) <= least + QUANTUM_SECONDS]
    choices = [_of_owner(of_class, owner, policy, now, own) for owner in equal]
    group = min(choice.group for choice in choices)
    best = [choice for choice in choices if choice.group is group]
    return next((choice for choice in best if choice.entry.key in own), best[0])


def _most_urgent(entries: Iterable[Entry], pool: Pool, policy: Policy, now: float, least: float) -> Entry | None:
    """The urgent entry nearest to its stall, of any owner that was not served much more than the least served one."""
    urgent = (entry for entry in entries if group_of(entry, policy, now) is Group.URGENT)
    near = (entry for entry in urgent if _served(pool, entry.owner) <= least + URGENT_LAG_SECONDS)
    return min(near, key=_stall_order, default=None)


def _longest_waiting(free: Sequence[Entry], first: int, policy: Policy, now: float) -> Entry | None:
    """The job of a lower class that has waited longest, if that is too long."""
    lower = [entry for entry in free if entry.priority > first]
    longest = min(lower, key=lambda entry: (entry.waits_since, entry.job_id, entry.lane), default=None)
    return longest if longest and now - longest.waits_since >= policy.ageing_seconds else None


def _of_owner(
    entries: Iterable[Entry], owner: str, policy: Policy, now: float, own: frozenset[tuple[str, Lane]]
) -> Choice:
    """The next job of one owner (at least one of the entries is its, and none of its is urgent)."""
    found = [entry for entry in entries if entry.owner == owner]
    by_stall = sorted((e for e in found if e.begun), key=lambda e: (e.ahead(now), e.job_id, e.lane))
    oldest = min((entry for entry in found if entry.begun), key=_age_order, default=None)
    if oldest and oldest.ahead(now) <= policy.ahead_seconds:
        kept = [e for e in found if e.begun and e.key in own and e.ahead(now) <= policy.ahead_seconds]
        return Choice(min(kept, key=_age_order, default=oldest), Group.BEGUN)
    if by_stall and by_stall[0].ahead(now) <= policy.ahead_seconds:
        return Choice(by_stall[0], Group.BEGUN)
    if new := min((entry for entry in found if not entry.begun), key=_age_order, default=None):
        return Choice(new, Group.NEW)
    return Choice(by_stall[0], Group.AHEAD)


def group_of(entry: Entry, policy: Policy, now: float) -> Group:
    """The group of one entry alone."""
    if not entry.begun:
        return Group.NEW
    ahead = entry.ahead(now)
    if 0 <= ahead < policy.urgent_seconds:
        return Group.URGENT
    return Group.BEGUN if ahead <= policy.ahead_seconds else Group.AHEAD


def _served(pool: Pool, owner: str) -> float:
    account = pool.accounts.get(owner)
    return account.served if account else pool.clock


def _age_order(entry: Entry) -> tuple[float, str, Lane]:
    return entry.order, entry.job_id, entry.lane


def _stall_order(entry: Entry) -> tuple[float, str, Lane]:
    assert entry.stalls_at is not None
    return entry.stalls_at, entry.job_id, entry.lane


def joined(pool: Pool, owner: str) -> None:
    """A job of `owner` comes into the pool. One that was away begins where the others are: it neither saves up while it
    asks for nothing, nor pays for what it used long ago."""
    account = pool.accounts.setdefault(owner, Account())
    if account.waiting == 0:
        account.served = max(account.served, pool.clock)
    account.waiting += 1


def left(pool: Pool, owner: str) -> None:
    """A job of `owner` has left the pool: it has no work there now."""
    pool.accounts[owner].waiting -= 1


def picked(pool: Pool, choice: Choice) -> None:
    """Note that `choice` was taken."""
    pool.clock = max(pool.clock, _served(pool, choice.entry.owner))
    pool.unaged = 0 if choice.aged else min(UNAGED_PICKS, pool.unaged + 1)


def evened(pool: Pool) -> None:
    """A worker found nothing free in the whole pool: nobody waits, so nobody is owed anything, and all begin again as
    equals. Otherwise an owner that asks for little would save up while all are served, and take every worker later."""
    pool.clock = 0.0
    for account in pool.accounts.values():
        account.served = 0.0


def charge(pool: Pool, owner: str, seconds: float, share: float) -> None:
    """`owner`, whose key has this share, used a worker for `seconds`: expected ones at a claim, and the difference to
    the true ones (perhaps negative) when the worker is free."""
    pool.accounts.setdefault(owner, Account(served=pool.clock)).served += seconds / share
