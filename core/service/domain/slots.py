"""Which model each GPU of a machine serves, where the machine serves several. docs/operations.md says it for operators.
Pure.

A slot is one GPU with its worker process. Loading weights costs, so a slot is given to another model only if that one
needs it, and then keeps it for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

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
class MachinePool:
    """A pool as one machine sees it."""

    limits: PoolLimits
    demand: PoolDemand
    elsewhere: int = 0
    """Workers of the model on other machines; what these do is not asked of this one."""
    without_seconds: float = 0.0
    """How long the model has had no slot of this machine."""
    is_down: bool = False
    """Whether it has slots of this machine, and no process on any was ready for long: they are all down."""


@dataclass(frozen=True)
class Slot:
    """`model`: None for one that was given to no pool yet. `held_seconds`: since some pool needed it and got it;
    infinite if none did."""

    model: str | None = None
    held_seconds: float = inf
    is_busy: bool = False
    """Whether its worker makes a piece, which a move interrupts."""
    is_paused: bool = False
    """Whether its worker is paused by its name, for maintenance: it begins nothing, and as one of another model it
    would not be paused."""
    is_down: bool = False
    """Whether its worker has not been ready for long, and may never be."""


def allot(
    slots: Sequence[Slot], pools: Sequence[MachinePool], target_seconds: float, hold_seconds: float
) -> list[Slot]:
    """The slots with the models that they should have now; those that are given to another one have it for 0 s, or
    infinitely long if nobody needs it.

    A paused slot stays where it is, one that is down may move; neither counts as a worker. A pool that is down needs
    one slot, to go on trying: what is wrong might be wrong on others, too.

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


class _Tally(NamedTuple):
    """A pool's slots: those whose worker works or is coming, and the others."""

    working: int
    paused: int
    down: int

    @property
    def whole(self) -> int:
        """All but those that are down."""
        return self.working + self.paused


class _Allotting:
    """The slots while they are given away."""

    def __init__(
        self, slots: Sequence[Slot], pools: Sequence[MachinePool], target_seconds: float, hold_seconds: float
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

    def _next_gift(self) -> tuple[int, MachinePool] | None:
        needy = [pool for pool in self._pools if self._is_needy(pool)]
        for pool in sorted(needy, key=lambda pool: (-self._load(pool), -pool.without_seconds)):
            if (number := self._slot_for(pool)) is not None:
                return number, pool
        return None

    def _slot_for(self, pool: MachinePool) -> int | None:
        """The slot that can best be given to this pool, if any."""
        if free := self._slots_of(None):
            return free[0]
        others = [other for other in self._pools if other is not pool]
        unneeded = [number for other in others for number in self._unneeded(other)]
        if (number := self._best(unneeded, self._hold)) is not None:
            return number
        spare = [other for other in others if ADVANTAGE * self._load_without_one(other) < self._load(pool)]
        for other in sorted(spare, key=self._load_without_one):
            if (number := self._best(self._slots_of(other.limits.model), self._hold)) is not None:
                return number
        turn = TURN_HOLDS * self._hold
        if self._workers(pool) > 0 or pool.without_seconds < turn:
            return None
        above = [other for other in others if self._count(other) > other.limits.minimum]
        return self._best([number for other in above for number in self._slots_of(other.limits.model)], turn)

    def _unneeded(self, pool: MachinePool) -> list[int]:
        """The slots of which the pool can spare one."""
        numbers, goal = self._slots_of(pool.limits.model), self._goal(pool)
        if self._tally(pool).whole > goal:
            return numbers
        return [number for number in numbers if self._is_down(number, pool)] if len(numbers) > goal else []

    def _best(self, numbers: Iterable[int], least_held: float) -> int | None:
        """Of these slots one that was held for so long: one that is down, an idle one, the one held longest."""
        slots = self.slots
        movable = [at for at in numbers if slots[at].held_seconds >= least_held and not slots[at].is_paused]
        return min(movable, key=self._is_missed, default=None)

    def _is_missed(self, number: int) -> tuple[bool, bool, float]:
        slot = self.slots[number]
        return not slot.is_down, slot.is_busy, -slot.held_seconds

    def _goal(self, pool: MachinePool) -> int:
        """How many slots the pool should have, if there were enough."""
        limits, own = pool.limits, self._tally(pool)
        needed = max(0, desired_workers(pool.demand, self._target) - pool.elsewhere)
        if pool.is_down:
            needed = min(needed, 1)
        return max(limits.minimum, min(limits.maximum, needed + own.paused))

    def _is_needy(self, pool: MachinePool) -> bool:
        useful = self._count(pool) if pool.is_down else self._tally(pool).whole
        return useful < self._goal(pool) and self._count(pool) < pool.limits.maximum

    def _load(self, pool: MachinePool) -> float:
        """Queue seconds of each worker; infinite if there is work and no worker."""
        if pool.demand.jobs == 0:
            return 0.0
        workers = self._workers(pool)
        return (pool.demand.queue_seconds or 0.0) / workers if workers else inf

    def _load_without_one(self, pool: MachinePool) -> float:
        """The same if it had a slot less; infinite if it cannot have less, or would have no worker."""
        left = self._workers(pool) - 1
        if left < 1 or self._count(pool) <= pool.limits.minimum:
            return inf
        return (pool.demand.queue_seconds or 0.0) / left

    def _workers(self, pool: MachinePool) -> int:
        return self._tally(pool).working + pool.elsewhere

    def _tally(self, pool: MachinePool) -> _Tally:
        numbers = self._slots_of(pool.limits.model)
        paused = sum(self.slots[number].is_paused for number in numbers)
        down = sum(self._is_down(number, pool) for number in numbers)
        return _Tally(len(numbers) - paused - down, paused, down)

    def _is_down(self, number: int, pool: MachinePool) -> bool:
        slot = self.slots[number]
        return (slot.is_down or pool.is_down) and not slot.is_paused

    def _count(self, pool: MachinePool) -> int:
        return len(self._slots_of(pool.limits.model))

    def _slots_of(self, model: str | None) -> list[int]:
        return [number for number, slot in enumerate(self.slots) if slot.model == model]
