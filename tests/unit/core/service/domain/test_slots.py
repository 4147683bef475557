"""Which model each GPU serves: minimums, need, idle GPUs, overload, and the laws that hold whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from core.service.domain.capacity import PoolDemand
from core.service.domain.slots import TURN_HOLDS, MachinePool, PoolLimits, Slot, allot

TARGET = 100.0
HOLD = 60.0
NAMES = ("a", "b", "c", "d")
Seconds = float | None


def pool(
    model: str,
    minimum: int,
    maximum: int,
    jobs: int = 0,
    seconds: Seconds = 0.0,
    elsewhere: int = 0,
    without: float = 0.0,
    is_down: bool = False,
) -> MachinePool:
    demand = PoolDemand(model, jobs, 0, seconds, 0)
    return MachinePool(PoolLimits(model, minimum, maximum), demand, elsewhere, without, is_down)


def models(slots: Sequence[Slot]) -> str:
    """One letter a slot, - without a model."""
    return "".join(slot.model or "-" for slot in slots)


def allotted(
    before: str, *pools: MachinePool, held: float = 1e6, busy: str = "", paused: str = "", down: str = ""
) -> str:
    """The models after one step. `held`: by every slot. `busy`, `paused`, `down`: numbers of the slots that are."""
    slots = [
        Slot(None if one == "-" else one, held, str(at) in busy, str(at) in paused, str(at) in down)
        for at, one in enumerate(before)
    ]
    return models(allot(slots, pools, TARGET, HOLD))


def test_minimums_come_first_and_what_is_left_is_shared_out() -> None:
    assert allotted("-----", pool("a", 1, 5), pool("b", 2, 5)) == "abbaa"
    assert allotted("---", pool("a", 0, 1), pool("b", 0, 1)) == "ab-", "nobody may have more"


def test_work_that_waits_at_the_start_decides_on_what_the_minimums_leave() -> None:
    assert allotted("----", pool("a", 1, 4), pool("b", 0, 4, jobs=9, seconds=900)) == "abbb"


def test_an_idle_slot_keeps_its_model_until_somebody_needs_it() -> None:
    idle = pool("a", 0, 4)
    assert allotted("aa", idle, pool("b", 0, 4)) == "aa"
    assert allotted("aa", idle, pool("b", 0, 4, jobs=1, seconds=1)) == "ba"
    assert allotted("aa", idle, pool("b", 0, 4, jobs=2, seconds=101)) == "bb"


def test_nobody_goes_below_its_minimum_or_above_its_maximum() -> None:
    needs_all = pool("b", 0, 2, jobs=9, seconds=9000)
    assert allotted("aaaa", pool("a", 0, 4), needs_all) == "bbaa"
    assert allotted("aa", pool("a", 2, 4), needs_all) == "aa"


def test_a_slot_that_was_just_given_stays() -> None:
    pools = (pool("a", 0, 4), pool("b", 0, 4, jobs=1, seconds=1))
    assert allotted("a", *pools, held=HOLD - 1) == "a"
    assert allotted("a", *pools, held=HOLD) == "b"


def test_idle_slots_move_before_busy_ones() -> None:
    one_enough = pool("a", 0, 4, jobs=1, seconds=1)
    assert allotted("aaa", one_enough, pool("b", 0, 4, jobs=1, seconds=1), busy="01") == "aab"


def test_where_all_have_too_much_work_slots_go_where_there_is_much_more() -> None:
    few = pool("b", 0, 4, jobs=9, seconds=1000)
    assert allotted("aaab", pool("a", 0, 4, jobs=9, seconds=1000), few) == "aaab", "even enough"
    assert allotted("aaab", pool("a", 0, 4, jobs=9, seconds=500), few) == "baab"
    assert allotted("aaa", pool("a", 0, 4, jobs=9, seconds=1e5), few) == "baa", "one worker at least"


def test_pools_that_share_too_few_slots_take_turns() -> None:
    works, turn = pool("a", 0, 1, jobs=1, seconds=50), TURN_HOLDS * HOLD
    waits = pool("b", 0, 1, jobs=1, seconds=50, without=turn)
    assert allotted("a", works, waits, held=turn) == "b"
    assert allotted("a", works, waits, held=turn - 1) == "a"
    assert allotted("a", works, replace(waits, without_seconds=turn - 1), held=turn) == "a"


def test_of_those_that_wait_for_a_turn_the_one_that_waited_longest_is_next() -> None:
    works, turn = pool("a", 0, 1, jobs=1, seconds=50), TURN_HOLDS * HOLD
    waits = [pool(name, 0, 1, jobs=1, seconds=50, without=turn + at) for at, name in enumerate("bc")]
    assert allotted("a", works, *waits, held=turn) == "c"


def test_workers_of_other_machines_count() -> None:
    idle = pool("a", 0, 4)
    assert allotted("aa", idle, pool("b", 0, 4, jobs=2, seconds=150, elsewhere=2)) == "aa"
    assert allotted("aa", idle, pool("b", 0, 4, jobs=3, seconds=250, elsewhere=2)) == "ba"
    assert allotted("-", pool("a", 0, 1, elsewhere=1), pool("b", 0, 1)) == "b", "nobody has it loaded"


def test_work_that_was_never_timed_gets_one_worker() -> None:
    assert allotted("aaa", pool("a", 0, 4), pool("b", 0, 4, jobs=9, seconds=None)) == "baa"


def test_a_paused_slot_is_no_worker_and_stays() -> None:
    idle, works = pool("a", 0, 4), pool("b", 0, 4, jobs=1, seconds=50)
    assert allotted("ab", idle, works) == "ab"
    assert allotted("ab", idle, works, paused="1") == "bb"
    assert allotted("ab", idle, works, paused="0") == "ab"
    assert allotted("a", idle, works, paused="0") == "a", "it is not taken from its maintenance"
    assert allotted("ab", idle, pool("b", 0, 1, jobs=1, seconds=50), paused="1") == "ab", "it may have one only"


def test_a_slot_beside_a_paused_one_is_not_spared() -> None:
    works = pool("b", 0, 4, jobs=9, seconds=300)
    assert allotted("abb", pool("a", 0, 4, jobs=9, seconds=900), works) == "aab"
    assert allotted("abb", pool("a", 0, 4, jobs=9, seconds=900), works, paused="2") == "abb"


def test_of_slots_that_are_down_a_pool_keeps_one_while_others_need_them() -> None:
    loaded, broken = pool("a", 0, 4, jobs=9, seconds=400), pool("b", 0, 4, jobs=9, seconds=900, is_down=True)
    assert allotted("aabb", loaded, replace(broken, is_down=False)) == "aabb"
    assert allotted("aabb", loaded, broken) == "aaab"
    assert allotted("aaab", loaded, broken) == "aaab", "this one goes on trying, and gets no help"
    assert allotted("aabb", pool("a", 0, 4), broken) == "aabb", "nobody needs them"
    assert allotted("aabb", loaded, replace(broken, limits=PoolLimits("b", 2, 4))) == "aabb", "its minimum"


def test_a_pool_that_works_on_other_slots_gets_one_for_each_that_is_down() -> None:
    loaded, works = pool("a", 0, 4, jobs=9, seconds=400), pool("b", 0, 4, jobs=9, seconds=900)
    assert allotted("aabb", loaded, works) == "aabb"
    assert allotted("aabb", loaded, works, down="3") == "babb"
    assert allotted("aabb", loaded, replace(works, limits=PoolLimits("b", 0, 2)), down="3") == "aabb", "its maximum"
    assert allotted("aabb", loaded, pool("b", 0, 4, jobs=1, seconds=90), down="3") == "aaba"


def test_a_slot_that_is_down_moves_before_those_that_work() -> None:
    one_enough, loaded = pool("b", 0, 4, jobs=1, seconds=1), pool("a", 0, 4, jobs=9, seconds=900)
    assert allotted("abb", loaded, one_enough, down="2") == "aba"
    assert allotted("abb", pool("a", 0, 2, jobs=9, seconds=900), pool("b", 0, 4), down="2") == "aba", "both are idle"
    slots = [Slot("a", HOLD), Slot("b", HOLD), Slot("b", HOLD - 1, is_down=True)]
    assert models(allot(slots, [loaded, one_enough], TARGET, HOLD)) == "abb", "and instead of them"


@dataclass
class Machine:
    """Slots through time, as worker.pools keeps them."""

    limits: Sequence[PoolLimits]
    models: list[str | None]
    now: float = 0.0
    given_at: list[float] = field(default_factory=list[float])
    served_at: dict[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        self.given_at = [float("-inf")] * len(self.models)
        self.served_at = dict.fromkeys((one.model for one in self.limits), 0.0)

    def numbers(self, model: str) -> set[int]:
        return {number for number, other in enumerate(self.models) if other == model}

    def step(
        self,
        demands: Mapping[str, tuple[int, Seconds]],
        seconds: float,
        paused: Collection[int] = (),
        down: Collection[int] = (),
    ) -> int:
        """How many slots moved from one model to another. `paused`, `down`: numbers of slots."""
        self.now += seconds
        self.served_at |= {model: self.now for model in self.models if model}
        pools = [
            pool(
                one.model,
                one.minimum,
                one.maximum,
                *demands[one.model],
                without=self.now - self.served_at[one.model],
                is_down=one.model in self.models and self.numbers(one.model) <= {*down},
            )
            for one in self.limits
        ]
        slots = [
            Slot(model, self.now - at, is_paused=number in paused, is_down=number in down)
            for number, (model, at) in enumerate(zip(self.models, self.given_at, strict=True))
        ]
        moved = 0
        for number, slot in enumerate(allot(slots, pools, TARGET, HOLD)):
            if slot.model != self.models[number]:
                if self.models[number] is not None:
                    assert self.now - self.given_at[number] >= HOLD, "it keeps what it was given"
                    assert number not in paused
                    moved += 1
                self.models[number], self.given_at[number] = slot.model, self.now - slot.held_seconds
        return moved


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    num_slots, names = draw(st.integers(1, 6)), NAMES[: draw(st.integers(1, 4))]
    limits, left = list[PoolLimits](), num_slots
    for name in names:
        minimum = draw(st.integers(0, min(2, left)))
        left -= minimum
        limits.append(PoolLimits(name, minimum, max(1, minimum + draw(st.integers(0, 4)))))
    return Machine(limits, [None] * num_slots)


DEMANDS = st.fixed_dictionaries(
    {name: st.tuples(st.integers(1, 20), st.none() | st.floats(0, 3000)) | st.just((0, 0.0)) for name in NAMES}
)
NUMBERS = st.frozensets(st.integers(0, 5), max_size=3)
Step = tuple[dict[str, tuple[int, Seconds]], float, frozenset[int], frozenset[int]]


@settings(deadline=None)
@given(machines(), st.lists(st.tuples(DEMANDS, st.floats(0.1, 400), NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_limits_hold_whatever_happens(machine: Machine, steps: list[Step]) -> None:
    for demands, seconds, paused, down in steps:
        machine.step(demands, seconds, paused, down)
        counts = Counter(machine.models)
        for one in machine.limits:
            assert one.minimum <= counts[one.model] <= one.maximum
        assert counts[None] == max(0, len(machine.models) - sum(one.maximum for one in machine.limits))


def with_work(machine: Machine, demands: Mapping[str, tuple[int, Seconds]]) -> list[PoolLimits]:
    return [one for one in machine.limits if demands[one.model][0] > 0]


@settings(deadline=None)
@given(machines(), DEMANDS, DEMANDS)
def test_under_constant_demand_nothing_moves_any_more(
    machine: Machine, before: dict[str, tuple[int, Seconds]], demands: dict[str, tuple[int, Seconds]]
) -> None:
    """Unless pools must take turns."""
    machine.step(before, 1.0)
    needed = sum(max(1, one.minimum) for one in with_work(machine, demands))
    needed += sum(one.minimum for one in machine.limits if one not in with_work(machine, demands))
    for _ in range(2):
        machine.step(demands, TURN_HOLDS * HOLD)
    moved = sum(machine.step(demands, TURN_HOLDS * HOLD) for _ in range(10))
    assert moved == 0 or needed > len(machine.models)


@settings(deadline=None)
@given(machines(), DEMANDS, DEMANDS)
def test_every_pool_with_work_gets_a_slot_in_the_end(
    machine: Machine, before: dict[str, tuple[int, Seconds]], demands: dict[str, tuple[int, Seconds]]
) -> None:
    machine.step(before, 1.0)
    served = set[str | None]()
    for _ in range(200):
        machine.step(demands, HOLD / 2)
        served |= set(machine.models)
    if sum(one.minimum for one in machine.limits) < len(machine.models):
        assert {one.model for one in with_work(machine, demands)} <= served
