"""Which model each GPU of a machine serves, where the machine serves several. docs/operations.md says it for operators.
Pure.

A slot is one GPU with its worker process. Loading weights costs, so a slot is given to another model only if that one
needs it, and then keeps it for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from core.service.domain.capacity import PoolDemand, desired_workers

ADVANTAGE = 2.0
"""Where all pools have too few workers, a slot goes to one whose workers have this many times the work. What changes
sides by less would soon come back."""
TURN_HOLDS = 5
"""A pool's last slot goes to a pool with work and no worker only if the one has had it, and the other none, for this
many times the hold seconds: from then on they take turns, and each turn costs loading both."""


@dataclass(frozen=True)
class PoolLimits:
    """How many slots of one machine a model has, 0 <= minimum <= maximum, 1 <= maximum."""

    model: str
    minimum: int
    maximum: int


@dataclass(frozen=True)
class Pool:
    """A pool as one machine sees it."""

    limits: PoolLimits
    demand: PoolDemand
    elsewhere: int = 0
    """Workers of the model on other machines; what these do is not asked of this one."""
    without_seconds: float = 0.0
    """How long the model has had no slot of this machine."""


@dataclass(frozen=True)
class Slot:
    """`model`: None for one that was given to no pool yet. `held_seconds`: since some pool needed it and got it;
    infinite if none did."""

    model: str | None = None
    held_seconds: float = inf
    is_busy: bool = False
    """Whether its worker makes a piece, which a move interrupts."""


def allot(slots: Sequence[Slot], pools: Sequence[Pool], target_seconds: float, hold_seconds: float) -> list[Slot]:
    """The slots with the models that they should have now; those that are given to another one have it for 0 s, or
    infinitely long if nobody needs it.

    First each pool gets its minimum. Then pools that need more workers (desired_workers, less those elsewhere) get
    free slots, then those that other pools do not need, then those that other pools need less. Slots that are still
    free are shared out, so that a first job finds its model loaded. A slot changes hands `hold_seconds` (more than 0)
    after it last did at the earliest. The order of `pools` decides between equals.
    """
    allotting = _Allotting(slots, pools, target_seconds, hold_seconds)
    allotting.give_minimums()
    allotting.give_needed()
    allotting.share_out()
    return allotting.slots


class _Allotting:
    """The slots while they are given away."""

    def __init__(
        self, slots: Sequence[Slot], pools: Sequence[Pool], target_seconds: float, hold_seconds: float
    ) -> None:
        self.slots = list(slots)
        self._pools = pools
        self._target, self._hold = target_seconds, hold_seconds

    def give_minimums(self) -> None:
        for pool in self._pools:
            while self._count(pool) < pool.limits.minimum and (free := self._slots_of(None)):
                self.slots[free[0]] = Slot(pool.limits.model)

    def give_needed(self) -> None:
        """Each gift makes the work more even by more than taking it back could, so they end."""
        while gift := self._next_gift():
            number, pool = gift
            self.slots[number] = Slot(pool.limits.model, 0.0)

    def share_out(self) -> None:
        while free := self._slots_of(None):
            open_pools = [pool for pool in self._pools if self._count(pool) < pool.limits.maximum]
            if not open_pools:
                return
            fewest = min(open_pools, key=self._workers)
            self.slots[free[0]] = Slot(fewest.limits.model)

    def _next_gift(self) -> tuple[int, Pool] | None:
        needy = [pool for pool in self._pools if self._count(pool) < self._goal(pool)]
        for pool in sorted(needy, key=lambda pool: (-self._load(pool), -pool.without_seconds)):
            if (number := self._slot_for(pool)) is not None:
                return number, pool
        return None

    def _slot_for(self, pool: Pool) -> int | None:
        """The slot that can best be given to this pool, if any."""
        if free := self._slots_of(None):
            return free[0]
        others = [other for other in self._pools if other is not pool]
        unneeded = [other for other in others if self._count(other) > self._goal(other)]
        if (number := self._best_slot(unneeded, self._hold)) is not None:
            return number
        spare = [other for other in others if ADVANTAGE * self._load_without_one(other) < self._load(pool)]
        for other in sorted(spare, key=self._load_without_one):
            if (number := self._best_slot([other], self._hold)) is not None:
                return number
        turn = TURN_HOLDS * self._hold
        if self._workers(pool) > 0 or pool.without_seconds < turn:
            return None
        return self._best_slot([other for other in others if self._count(other) > other.limits.minimum], turn)

    def _best_slot(self, pools: Sequence[Pool], least_held: float) -> int | None:
        """Of the slots of these pools that they had for so long: an idle one, the one held longest."""
        numbers = [number for pool in pools for number in self._slots_of(pool.limits.model)]
        numbers = [number for number in numbers if self.slots[number].held_seconds >= least_held]
        return min(numbers, key=self._is_missed, default=None)

    def _is_missed(self, number: int) -> tuple[bool, float]:
        slot = self.slots[number]
        return slot.is_busy, -slot.held_seconds

    def _goal(self, pool: Pool) -> int:
        """How many slots the pool should have, if there were enough."""
        limits, needed = pool.limits, desired_workers(pool.demand, self._target) - pool.elsewhere
        return max(limits.minimum, min(limits.maximum, needed))

    def _load(self, pool: Pool) -> float:
        """Queue seconds of each worker; infinite if there is work and no worker."""
        if pool.demand.jobs == 0:
            return 0.0
        workers = self._workers(pool)
        return (pool.demand.queue_seconds or 0.0) / workers if workers else inf

    def _load_without_one(self, pool: Pool) -> float:
        """The same if it had a slot less; infinite if it cannot have less, or would have no worker."""
        left = self._workers(pool) - 1
        if left < 1 or self._count(pool) <= pool.limits.minimum:
            return inf
        return (pool.demand.queue_seconds or 0.0) / left

    def _workers(self, pool: Pool) -> int:
        return self._count(pool) + pool.elsewhere

    def _count(self, pool: Pool) -> int:
        return len(self._slots_of(pool.limits.model))

    def _slots_of(self, model: str | None) -> list[int]:
        return [number for number, slot in enumerate(self.slots) if slot.model == model]
