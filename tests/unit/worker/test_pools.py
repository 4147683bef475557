"""How a supervisor's GPUs follow the work."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import pytest

from core.service.domain.capacity import PoolDemand
from core.service.domain.errors import StoreUnavailable
from core.service.domain.ports import EVERYTHING, PauseTarget, WorkerKind, WorkerState, WorkerStatus
from core.service.domain.slots import PoolLimits
from core.service.testing.clock import FAKE_START
from worker.pools import STARTING_SECONDS, Needs, SlotController
from worker.unready import DOWN_SECONDS

HOLD = 60.0
LIMITS = (PoolLimits("a", 0, 4), PoolLimits("b", 0, 4))


class Machine:
    """A controller of a few slots whose processes are called p0, p1, ...; and what Redis says."""

    def __init__(self, num_slots: int, limits: Sequence[PoolLimits] = LIMITS) -> None:
        self.now, self.away = 1000.0, False
        self.demands = list[PoolDemand]()
        self.workers = list[WorkerStatus]()
        self.paused = list[PauseTarget]()
        self.names = [f"p{number}" for number in range(num_slots)]
        self.is_mute = False
        self.announced = list[Mapping[int, str]]()
        self.controller = SlotController(
            limits, num_slots, self, target_seconds=100.0, hold_seconds=HOLD, monotonic=lambda: self.now
        )

    def read(self) -> Needs:
        if self.away:
            raise StoreUnavailable("Redis is away")
        return Needs(self.demands, self.workers, frozenset(self.paused))

    def announce(self, coming: Mapping[int, str]) -> None:
        if self.is_mute:
            raise StoreUnavailable("Redis went away meanwhile")
        self.announced.append(coming)

    def need(self, **seconds: float) -> None:
        """Nine jobs of each of these models, which take so long together."""
        self.demands = [PoolDemand(model, 9, 0, each, 0) for model, each in seconds.items()]

    def look(self, seconds: float = 5.0) -> list[tuple[int, str]]:
        self.now += seconds
        return self.controller.look(self.names)

    def report(self, name: str, model: str, state: WorkerState = "ready", kind: WorkerKind = "both") -> None:
        self.workers.append(
            WorkerStatus(name=name, kind=kind, model=model, state=state, device="cpu", pid=1, started_at=FAKE_START)
        )


def test_a_slot_follows_the_work_and_stays_for_a_while() -> None:
    machine = Machine(2)
    assert machine.controller.first_models() == ["a", "b"]
    assert machine.look() == []
    machine.need(b=150)
    assert machine.look() == [(0, "b")], "nobody had needed it, so it moves at once"
    machine.need(a=50)
    machine.names[0] = "p0 again"
    assert machine.look() == [(1, "a")]
    machine.need(b=150)
    assert machine.look() == [], "it was given a moment ago"
    assert machine.look(HOLD) == [(1, "b")]


def test_the_queues_decide_at_the_start() -> None:
    machine = Machine(2)
    machine.need(b=900)
    assert machine.controller.first_models() == ["b", "b"]


def test_without_redis_all_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    machine = Machine(2)
    machine.away = True
    assert machine.controller.first_models() == ["a", "b"]
    assert "Redis is away" in caplog.text
    with pytest.raises(StoreUnavailable):
        machine.look()
    machine.away = False
    assert machine.look() == []
    machine.need(b=150)
    assert machine.look() == [(0, "b")]


def test_a_slot_at_work_is_the_last_to_move() -> None:
    machine = Machine(3, (PoolLimits("a", 0, 3), PoolLimits("b", 0, 3)))
    assert machine.controller.first_models() == ["a", "b", "a"]
    machine.report("p0", "a", "busy")
    machine.need(b=150)
    assert machine.look() == [(2, "b")]


@pytest.mark.parametrize("target", [EVERYTHING, PauseTarget(model="b")])
def test_a_paused_model_needs_nobody(target: PauseTarget) -> None:
    machine = Machine(2)
    machine.controller.first_models()
    machine.need(b=150)
    machine.paused = [target]
    assert machine.look() == []
    machine.paused = [PauseTarget(model="a"), PauseTarget(worker="p1")]
    assert machine.look() == [(0, "b")]


@pytest.mark.parametrize("paused", ["a-0-17@host", "a-0@host"])
def test_a_paused_process_keeps_its_slot(paused: str) -> None:
    machine = Machine(3)
    assert machine.controller.first_models() == ["a", "b", "a"]
    machine.names = ["a-0-17@host", "b-1-18@host", "a-2-19@host"]
    machine.paused = [PauseTarget(worker=paused)]
    machine.need(b=900)
    assert machine.look() == [(2, "b")]
    assert machine.look(1e6) == []


@pytest.mark.parametrize("paused", ["b-0-9@h2", "b-0@h2"])
def test_a_paused_worker_of_another_machine_does_no_work(paused: str) -> None:
    machine = Machine(1)
    machine.controller.first_models()
    machine.need(b=50)
    machine.report("b-0-9@h2", "b")
    assert machine.look() == []
    machine.paused = [PauseTarget(worker=paused)]
    assert machine.look() == [(0, "b")]


def test_another_slot_does_the_work_of_a_paused_one() -> None:
    machine = Machine(2)
    assert machine.controller.first_models() == ["a", "b"]
    machine.names = ["a-0-17@host", "b-1-18@host"]
    machine.need(b=50)
    assert machine.look() == []
    machine.paused = [PauseTarget(worker="b-1@host")]
    assert machine.look() == [(0, "b")]


def with_slots_that_fail(num_slots: int = 4) -> Machine:
    """a has half of them, each with a worker; of b's none was ready when it was last looked at; both need all."""
    machine = Machine(num_slots)
    models = machine.controller.first_models()
    for name, model in zip(machine.names, models, strict=True):
        machine.report(name, model or "", "ready" if model == "a" else "not_ready")
    machine.need(a=400, b=900)
    assert machine.look() == []
    return machine


def test_slots_whose_processes_never_get_ready_go_to_a_model_that_works() -> None:
    machine = with_slots_that_fail()
    assert machine.look(DOWN_SECONDS - 1) == []
    machine.names[3] = "another process, which will not get ready either"
    assert machine.look(2) == [(1, "a")]
    assert machine.look(1e6) == [], "one goes on trying"


def test_a_model_that_never_gets_ready_is_not_tried_on_one_gpu_after_the_other() -> None:
    machine, moved = Machine(4), list[str]()
    serving = machine.controller.first_models()
    machine.need(a=400, b=9000)
    for _ in range(2000):
        machine.workers.clear()
        for name, model in zip(machine.names, serving, strict=True):
            machine.report(name, model or "", "ready" if model == "a" else "not_ready")
        for number, model in machine.look():
            serving[number] = model
            moved.append(model)
    assert moved == ["b", "a", "a"], "it has more work, but makes nothing"


def test_a_model_whose_process_got_ready_at_last_gets_its_slots_again() -> None:
    machine = with_slots_that_fail()
    assert machine.look(DOWN_SECONDS + 1) == [(1, "a")]
    machine.report("p1", "a")
    machine.report("p3", "b", "busy")
    assert [model for _, model in machine.look(HOLD)] == ["b"]


def test_a_gpu_that_fails_does_not_keep_its_model_from_others() -> None:
    machine = with_slots_that_fail()
    machine.report("p1", "b")
    assert machine.look(DOWN_SECONDS - 1) == []
    assert machine.look(2) == [(0, "b")], "p3 has been down for too long"


def test_an_outage_of_redis_counts_for_no_slot_as_time_that_it_was_not_ready() -> None:
    machine = with_slots_that_fail()
    machine.away = True
    with pytest.raises(StoreUnavailable):
        machine.look(DOWN_SECONDS + 1)
    machine.away = False
    assert machine.look() == []
    assert machine.look(DOWN_SECONDS + 1) == [(1, "a")]


def test_workers_of_other_machines_do_their_part() -> None:
    machine = Machine(2)
    machine.controller.first_models()
    machine.need(b=150)
    machine.report("elsewhere", "b", "starting")
    machine.report("p1", "b", "busy")
    assert machine.look() == [], "its own worker and the other one are enough"


@pytest.mark.parametrize(("state", "kind"), [("not_ready", "both"), ("draining", "both"), ("ready", "refine")])
def test_workers_elsewhere_that_make_no_chunks_do_not_count(state: WorkerState, kind: WorkerKind) -> None:
    machine = Machine(2)
    machine.controller.first_models()
    machine.need(b=150)
    machine.report("elsewhere", "b", state, kind)
    assert machine.look() == [(0, "b")]


def test_a_worker_that_is_coming_is_announced_until_it_reports_itself() -> None:
    machine = Machine(2)
    machine.controller.first_models()
    for name, model in zip(machine.names, ("a", "b"), strict=True):
        machine.report(name, model)
    assert machine.look() == []
    machine.need(b=150)
    assert machine.look() == [(0, "b")]
    assert machine.look() == []
    assert machine.announced == [{}, {0: "b"}, {0: "b"}]
    machine.report("p0", "b", "starting")
    machine.look()
    assert machine.announced[-1] == {}


def test_a_move_that_cannot_be_announced_is_done_all_the_same() -> None:
    machine = Machine(2)
    machine.controller.first_models()
    machine.need(b=150)
    machine.is_mute = True
    assert machine.look() == [(0, "b")]


def test_a_worker_that_never_reports_itself_is_announced_no_more() -> None:
    machine = Machine(1)
    machine.controller.first_models()
    machine.look()
    machine.look(STARTING_SECONDS)
    assert machine.announced == [{0: "a"}, {}]


def test_pools_with_too_few_gpus_take_turns() -> None:
    machine = Machine(1)
    machine.need(a=50, b=50)
    assert machine.controller.first_models() == ["a"]
    served = [model for _ in range(100) for _, model in machine.look(HOLD)]
    assert served[:4] == ["b", "a", "b", "a"]
