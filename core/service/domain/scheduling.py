"""Who is next: the policy by which a free worker chooses its next job. docs/scheduling.md says why; pure.

The Redis store applies the same policy with indexes, in one step (core.service.redis.schedule_scripts); this is the
definition that it is tested against, and what the fakes and the simulator use.

A pool is what competes for the same workers: one model's jobs on all lanes of its engines, or one lane of the CPU
workers. An owner is an API key ("" for jobs without one).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, sqrt

from core.service.domain.queue_entries import Choice, Entry, Group, Key
from core.service.domain.schema import Lane

__all__ = ["Charge", "Choice", "Entry", "Group", "Key", "Policy", "Pool", "age_order", "choose"]

QUANTUM_SECONDS = 5.0
"""Owners whose served seconds differ by no more than this count as equal: the one whose next job matters most goes
first, among those one that the worker holds."""
URGENT_LAG_SECONDS = 300.0
"""An urgent job goes before those of other owners while its owner was served at most this much more than the least
served one: a stall that one piece prevents is worse than an imbalance that the next minutes even out."""
LOOKED_AT = 16
"""Owners, and urgent jobs, that are looked at for one pick."""
URGENT_FRACTION = 0.25
"""A job is urgent while its viewers are ahead by less than this fraction of `ahead_seconds`, and not yet stalled."""
SPARE = 0.5
"""Workers have room for another viewer while that one and the begun jobs leave this many times the square root of
their number to spare: chance is less of a matter to many (the square-root staffing rule, Halfin and Whitt 1981)."""
UNAGED_PICKS = 3
"""Picks by class between two jobs that have waited too long in a lower class: those get every fourth pick at most."""
NEWEST_COUNTS = 0.2
"""Weight of the newest piece in the mean seconds of a piece."""
FADES = 0.002
"""How far the dearest piece lately falls towards each newer, cheaper one: half of the way in 350 pieces."""
QUIET_FADES = 0.01
"""How far the number of jobs that workers carry falls with each one that begins while no other waits."""
GONE = 0.5
"""Where another waits, and less than this part of that number have begun, workers have gone."""


@dataclass(frozen=True)
class Policy:
    """The settings of the policy: LONGTAKE_AHEAD_SECONDS and LONGTAKE_AGEING_SECONDS."""

    ahead_seconds: float = 20.0
    ageing_seconds: float = 300.0

    @property
    def urgent_seconds(self) -> float:
        return self.ahead_seconds * URGENT_FRACTION

    def enough_seconds(self, viewers: int, workers: int, pool: Pool) -> float:
        """How far ahead begun jobs let a new one begin. While the workers have room for its viewer too, it is enough
        that others do not stall soon after the longest piece. `viewers`: begun jobs. Each is taken as one of the
        dearest: a mean would let some stall that watch while others cost more."""
        has_room = pool.top_pace is not None and (viewers + 1) * pool.top_pace < workers - SPARE * sqrt(workers)
        return min(self.ahead_seconds, self.urgent_seconds + pool.longest) if has_room else self.ahead_seconds


@dataclass(frozen=True)
class Charge:
    """What a claim was charged for, before its true seconds are known."""

    owner: str
    share: float
    expected: float
    since: float
    plays_seconds: float = 0.0


@dataclass
class Pool:
    """The state of one pool beside its entries.

    served: by owner, worker seconds divided by the owner's share. waiting: by owner, its jobs in the pool, claimed or
    not. clock: most that an owner was served when it was chosen, where one that was away begins again. unaged: picks by
    class since the last pick by age. mean_seconds: by lane, of a piece, lately. pace: worker seconds for a second of
    video, the mean lately; None before the first. top_pace, longest: the most worker seconds for a second of video, and
    for a piece of any lane, lately. carried: how many begun jobs the workers carry at once, lately: how many there were
    when the next one was begun although others waited.
    """

    served: dict[str, float] = field(default_factory=dict[str, float])
    waiting: dict[str, int] = field(default_factory=dict[str, int])
    clock: float = 0.0
    unaged: int = 0
    charges: dict[Key, Charge] = field(default_factory=dict[Key, Charge])
    mean_seconds: dict[Lane, float] = field(default_factory=dict[Lane, float])
    pace: float | None = None
    top_pace: float | None = None
    longest: float = 0.0
    carried: float = 0.0

    def served_of(self, owner: str) -> float:
        """An owner without an account begins at the clock."""
        return self.served.get(owner, self.clock)

    def join(self, owner: str) -> None:
        """A job comes into the pool. An owner that was away neither saves up while it asks for nothing, nor pays for
        what it used long ago."""
        count = self.waiting.get(owner, 0)
        if count == 0:
            self.served[owner] = max(self.served_of(owner), self.clock)
        self.waiting[owner] = count + 1

    def leave(self, owner: str) -> None:
        """A job has left the pool: it has no work there now."""
        left = self.waiting.get(owner, 1) - 1
        self.waiting[owner] = left
        if left <= 0:
            del self.waiting[owner]
            if self.served_of(owner) <= self.clock:  # where it would begin again anyway
                self.served.pop(owner, None)

    def pick(self, choice: Choice | None, now: float) -> None:
        """`choice` was taken. Picks by age and urgent ones move no clock: their owners may have been served much more
        than those whose turn it was. None: nothing was free in the whole pool. So nobody is owed anything, and all
        begin again as equals; otherwise one that asks for little would save up, and take every worker later."""
        if choice is None:
            self.served.clear()
            self.clock = 0.0
            # What the pieces in work were charged for is forgotten with the rest; they pay from now on.
            self.charges = {key: replace(charge, expected=0.0, since=now) for key, charge in self.charges.items()}
        elif choice.aged:
            self.unaged = 0
        else:
            self.unaged = min(UNAGED_PICKS, self.unaged + 1)
            if choice.group is not Group.URGENT:
                self.clock = max(self.clock, self.served_of(choice.entry.owner))

    def claim(self, entry: Entry, now: float, *, is_made: bool = False) -> None:
        """A worker begins a piece: its owner is charged what a piece takes. Going on with the job that it holds counts
        as a pick by class; `is_made`: the piece before is made."""
        if entry.key in self.charges:
            self.settle(entry.key, now, is_made=is_made)
            self.unaged = min(UNAGED_PICKS, self.unaged + 1)
        expected = self.mean_seconds.get(entry.lane, 0.0)
        self.charges[entry.key] = Charge(entry.owner, entry.share, expected, now, entry.plays_seconds)
        self._charge(entry.owner, expected / entry.share)

    def begin(self, begun: int, waiting: int) -> None:
        """A new job of the generate lane was begun: so many have begun with it, and so many new ones still wait. While
        none wait there may be room for more, but the workers that had it may also have gone."""
        if waiting == 0 or self.carried == 0:
            self.carried = max(begun, self.carried + QUIET_FADES * (begun - self.carried))
        elif begun < GONE * self.carried:
            self.carried = begun
        else:
            self.carried += NEWEST_COUNTS * (begun - self.carried)

    def rest(self, begun: int) -> None:
        """A worker found nothing to do while so many jobs have begun: there is room for another."""
        self.carried = max(self.carried, begun + 1)

    def settle(self, key: Key, now: float, *, is_made: bool) -> None:
        """A worker is free of a piece: its owner is charged what it took. Only one that is made, not given back or
        lost, tells how long pieces take."""
        charge = self.charges.pop(key, None)
        if charge is None:
            return
        seconds, lane = max(0.0, now - charge.since), key[1]
        self._charge(charge.owner, (seconds - charge.expected) / charge.share)
        if not is_made:
            return
        self.mean_seconds[lane] = _newer_mean(self.mean_seconds.get(lane), seconds)
        self.longest = _newer_top(self.longest, seconds)
        if charge.plays_seconds > 0:
            pace = seconds / charge.plays_seconds
            self.pace, self.top_pace = _newer_mean(self.pace, pace), _newer_top(self.top_pace, pace)

    def _charge(self, owner: str, seconds: float) -> None:
        self.served[owner] = self.served_of(owner) + seconds


def _newer_mean(before: float | None, newest: float) -> float:
    return newest if before is None else before + NEWEST_COUNTS * (newest - before)


def _newer_top(before: float | None, newest: float) -> float:
    return newest if before is None else max(newest, before + FADES * (newest - before))


def choose(
    entries: Iterable[Entry], pool: Pool, policy: Policy, now: float, own: Collection[Key] = frozenset()
) -> Choice | None:
    """The next job among `entries`, the free ones of the lanes that a worker serves. None if there are none.

    `own`: entries whose state this worker holds; among equals it goes on with one of them. Changes nothing: `Pool.pick`
    notes the choice.
    """
    free = list(entries)
    if not free:
        return None
    first = min(entry.priority for entry in free)
    if pool.unaged >= UNAGED_PICKS and (aged := _longest_waiting(free, first, policy, now)):
        return Choice(aged, Group.NEW, aged=True)
    of_class = [entry for entry in free if entry.priority == first]
    owners = sorted({entry.owner for entry in of_class}, key=lambda owner: (pool.served_of(owner), owner))
    least = pool.served_of(owners[0])
    if urgent := _most_urgent(of_class, pool, policy, now, least):
        return Choice(urgent, Group.URGENT)
    equal = [owner for owner in owners[:LOOKED_AT] if pool.served_of(owner) <= least + QUANTUM_SECONDS]
    enough = policy.enough_seconds(*_viewers_and_workers(free, pool), pool)
    choices = [_of_owner(of_class, owner, policy, enough, now) for owner in equal]
    group = min(choice.group for choice in choices)
    best = [choice for choice in choices if choice.group is group]
    return next((choice for choice in best if choice.entry.key in own), best[0])


def _viewers_and_workers(free: Sequence[Entry], pool: Pool) -> tuple[int, int]:
    """The begun jobs, each piece in work taken as one of those; and the workers, one of which asks. A job whose worker
    asks whether to go on is listed as free, and its charge is not settled yet."""
    busy = len(pool.charges.keys() - {entry.key for entry in free})
    return sum(entry.begun for entry in free) + busy, busy + 1


def _most_urgent(entries: Iterable[Entry], pool: Pool, policy: Policy, now: float, least: float) -> Entry | None:
    """The urgent entry nearest to its stall, of any owner that was not served much more than the least served one."""
    urgent = (entry for entry in entries if entry.begun and entry.is_urgent(now, policy.urgent_seconds))
    nearest = sorted(urgent, key=_stall_order)[:LOOKED_AT]
    return next((each for each in nearest if pool.served_of(each.owner) <= least + URGENT_LAG_SECONDS), None)


def _longest_waiting(free: Sequence[Entry], first: int, policy: Policy, now: float) -> Entry | None:
    """The job of a lower class that has waited longest, if that is too long."""
    lower = [entry for entry in free if entry.priority > first]
    longest = min(lower, key=lambda entry: (entry.waits_since, *age_order(entry)[1:]), default=None)
    return longest if longest and longest.waits_since <= now - policy.ageing_seconds else None


def _of_owner(entries: Iterable[Entry], owner: str, policy: Policy, enough: float, now: float) -> Choice:
    """The next job of one owner (at least one of the entries is its). `enough`: see Policy.enough_seconds."""
    found = [entry for entry in entries if entry.owner == owner]
    begun, new = [each for each in found if each.begun], [each for each in found if not each.begun]
    if not begun:
        return Choice(min(new, key=age_order), Group.NEW)
    oldest, nearest = min(begun, key=age_order), min(begun, key=_stall_order)
    if not oldest.is_ahead(now, enough):
        return Choice(oldest, Group.BEGUN)
    if not nearest.is_ahead(now, enough):
        return Choice(nearest, Group.BEGUN)
    if new:
        return Choice(min(new, key=age_order), Group.NEW)
    return Choice(nearest if oldest.is_ahead(now, policy.ahead_seconds) else oldest, Group.AHEAD)


def age_order(entry: Entry) -> tuple[float, str, bool]:
    """The oldest first; of one job the refiner first: it makes what clients wait for."""
    return entry.order, entry.job_id, entry.lane is not Lane.REFINE


def _stall_order(entry: Entry) -> tuple[float, str, bool]:
    """What nobody can watch yet comes first."""
    return -inf if entry.stalls_at is None else entry.stalls_at, entry.job_id, entry.lane is not Lane.REFINE
