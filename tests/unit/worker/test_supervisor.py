"""The supervisor with small real child processes: started, restarted, stopped, killed if they do not stop."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from core.service.settings import Settings
from tests.helpers.deadline import eventually
from worker.children import FIRST_BACKOFF_SECONDS, Child, ChildPlan, plan_child, plan_children
from worker.options import read_options
from worker.runtime.names import process_name
from worker.supervisor import Supervisor

DRAINS = """
import signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(flush=True)
threading.Event().wait(60)
"""
SLEEPS = "import threading; threading.Event().wait(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); {SLEEPS}"


class Spawner:
    """Starts `code` instead of a worker and keeps the processes."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.processes: list[subprocess.Popen[bytes]] = []
        self.started_at: list[float] = []
        self.models: list[str] = []

    def __call__(self, plan: ChildPlan) -> subprocess.Popen[bytes]:
        self.started_at.append(time.monotonic())
        self.models.append(plan.model)
        self.processes.append(subprocess.Popen([sys.executable, "-c", self._code], stdout=subprocess.PIPE))
        return self.processes[-1]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def supervised(
    code: str, children: int = 1, stop_seconds: float = 10.0, died: list[str] | None = None
) -> Generator[tuple[Supervisor, Spawner]]:
    """`died` gets the names of children that died."""
    spawner, died = Spawner(code), [] if died is None else died
    plans = plan_children("generate", "tiny", [str(gpu) for gpu in range(children)])
    supervisor = Supervisor(plans, died.append, spawner, stop_seconds)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield supervisor, spawner
    finally:
        supervisor.stop.set()
        supervisor.kill.set()
        thread.join()
        spawner.close()


def test_each_gpu_gets_a_process_that_sees_only_it() -> None:
    plans = plan_children("generate", "sprites", ["0", "MIG-ab"])
    assert [plan.environment({"A": "b"})["CUDA_VISIBLE_DEVICES"] for plan in plans] == ["0", "MIG-ab"]
    assert all(plan.environment({})["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID" for plan in plans)
    assert plans[0].environment({"A": "b"})["A"] == "b"


def test_each_process_knows_its_number_for_ports_of_its_own() -> None:
    plans = plan_children("generate", "sprites", ["0", "MIG-ab"])
    assert [read_options(plan.arguments, Settings()).number for plan in plans] == [0, 1]
    assert [read_options(plan.arguments, Settings()).number for plan in plan_children("cpu", "sprites", [])] == [0]


def test_waiting_threads_leave_the_core_to_others_unless_told_otherwise() -> None:
    (plan,) = plan_children("generate", "sprites", [""])
    assert plan.environment({})["GOMP_SPINCOUNT"] == "1000"
    assert plan.environment({"GOMP_SPINCOUNT": "0"})["GOMP_SPINCOUNT"] == "0"


def test_a_cpu_worker_sees_no_gpu() -> None:
    for plan in (*plan_children("cpu", "sprites", []), *plan_children("generate", "sprites", [""])):
        assert plan.environment({"CUDA_VISIBLE_DEVICES": "0"})["CUDA_VISIBLE_DEVICES"] == ""


def test_a_child_that_ends_is_started_again_after_a_pause() -> None:
    with supervised("pass") as (_, spawner):
        eventually(lambda: len(spawner.processes) >= 2, "a second start")
    assert spawner.started_at[1] - spawner.started_at[0] >= FIRST_BACKOFF_SECONDS


def test_a_child_that_is_killed_is_died_by_its_name_and_replaced_at_once(caplog: pytest.LogCaptureFixture) -> None:
    died: list[str] = []
    with supervised(SLEEPS, died=died) as (_, spawner):
        for count in range(1, 4):
            eventually(lambda count=count: len(spawner.processes) == count, f"start {count}")
            spawner.processes[-1].kill()
        eventually(lambda: len(spawner.processes) == 4, "the fourth start")
        pids = [process.pid for process in spawner.processes[:3]]
    assert died == [process_name("generate", "tiny", "0", pid) for pid in pids]
    pauses = re.findall(r"restarting in (\S+) s", caplog.text)
    assert len(pauses) == len(pids)
    assert all(float(pause) < FIRST_BACKOFF_SECONDS for pause in pauses)


def test_stop_ends_all_children() -> None:
    with supervised(SLEEPS, children=2) as (supervisor, spawner):
        eventually(lambda: len(spawner.processes) == 2, "both children")
        supervisor.stop.set()
        eventually(lambda: all(process.poll() is not None for process in spawner.processes), "both to end")
        assert len(spawner.processes) == 2


@pytest.mark.parametrize("hurry", [False, True])
def test_a_child_that_will_not_stop_is_killed_in_the_end_or_on_the_second_signal(hurry: bool) -> None:
    with supervised(STUBBORN, stop_seconds=60 if hurry else 0.2) as (supervisor, spawner):
        eventually(lambda: len(spawner.processes) == 1, "the child")
        (child,) = spawner.processes
        assert child.stdout is not None
        child.stdout.readline()
        supervisor.stop.set()
        if hurry:
            supervisor.kill.set()
        assert eventually(child.poll, "the child to be killed") == -9


def wait_for_line(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    process.stdout.readline()


def test_a_moved_slot_ends_its_child_in_order_and_starts_one_of_the_other_model() -> None:
    died: list[str] = []
    with supervised(DRAINS, children=2, died=died) as (supervisor, spawner):
        eventually(lambda: len(spawner.processes) == 2, "both children")
        wait_for_line(spawner.processes[1])
        before = supervisor.names()
        supervisor.move(1, plan_child("both", "other", "1", 1))
        eventually(lambda: len(spawner.processes) == 3, "the child of the other model")
        assert spawner.models == ["tiny", "tiny", "other"]
        assert spawner.processes[1].poll() == 0
        assert spawner.processes[0].poll() is None
        named = eventually(lambda: (names := supervisor.names()) != before and names, "the new name")
    assert named == [before[0], process_name("both", "other", "1", spawner.processes[2].pid)]
    assert died == [], "it left in order"


def test_a_child_that_will_not_end_for_a_move_is_killed_and_has_died() -> None:
    died: list[str] = []
    with supervised(STUBBORN, stop_seconds=0.2, died=died) as (supervisor, spawner):
        eventually(lambda: len(spawner.processes) == 1, "the child")
        wait_for_line(spawner.processes[0])
        supervisor.move(0, plan_child("both", "other", "0", 0))
        eventually(lambda: len(spawner.processes) == 2, "the child of the other model")
        assert spawner.processes[0].poll() == -9
    assert died == [process_name("generate", "tiny", "0", spawner.processes[0].pid)]


class Undying(subprocess.Popen[bytes]):
    """Does not die when it is killed, as in a call of a driver that hangs."""

    def kill(self) -> None:
        logging.getLogger(__name__).info("killed")


def test_a_child_that_does_not_even_die_is_killed_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Undying([sys.executable, "-c", SLEEPS]) as process:
        try:
            plan = plan_child("both", "tiny", "0", 0)
            child = Child(plan, next_plan=plan_child("both", "other", "0", 0), process=process, kill_at=0.0)
            for _ in range(5):
                child.keep_running(Spawner("pass"), lambda _: None, 10.0)
            told = [record.getMessage() for record in caplog.records]
            assert told == [f"pid {process.pid} does not stop, killing it", "killed"]
        finally:
            subprocess.Popen.kill(process)


def test_a_slot_is_moved_at_once_where_its_child_waits_to_be_started_again() -> None:
    spawner = Spawner(SLEEPS)
    child = Child(plan_child("both", "tiny", "0", 0), start_at=time.monotonic() + 3600)
    try:
        child.keep_running(spawner, lambda _: None, 10.0)
        assert spawner.models == []
        child.next_plan = plan_child("both", "other", "0", 0)
        child.keep_running(spawner, lambda _: None, 10.0)
        assert spawner.models == ["other"]
    finally:
        spawner.close()


def test_a_slot_without_a_child_starts_one_when_it_is_given_a_model() -> None:
    spawner = Spawner(SLEEPS)
    supervisor = Supervisor([None], lambda _: None, spawner)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        assert supervisor.names() == [None]
        supervisor.move(0, plan_child("both", "tiny", "0", 0))
        eventually(lambda: spawner.models == ["tiny"], "its first child")
    finally:
        supervisor.stop.set()
        supervisor.kill.set()
        thread.join()
        spawner.close()
