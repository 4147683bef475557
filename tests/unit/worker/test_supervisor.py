"""The supervisor with small real child processes: started, restarted, stopped, killed if they do not stop."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from core.service.settings import Settings
from tests.helpers.deadline import eventually
from worker.children import FIRST_BACKOFF_SECONDS, ChildPlan, plan_children
from worker.options import read_options
from worker.runtime.names import process_name
from worker.supervisor import Supervisor

SLEEPS = "import threading; threading.Event().wait(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); {SLEEPS}"


class Spawner:
    """Starts `code` instead of a worker and keeps the processes."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.processes: list[subprocess.Popen[bytes]] = []
        self.started_at: list[float] = []

    def __call__(self, plan: ChildPlan) -> subprocess.Popen[bytes]:  # noqa: ARG002 - the port's signature
        self.started_at.append(time.monotonic())
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


def test_a_child_that_is_killed_is_died_by_its_name_and_replaced_at_once() -> None:
    died: list[str] = []
    with supervised(SLEEPS, died=died) as (_, spawner):
        for count in range(1, 4):
            eventually(lambda count=count: len(spawner.processes) == count, f"start {count}")
            spawner.processes[-1].kill()
        eventually(lambda: len(spawner.processes) == 4, "the fourth start", seconds=5)
        pids = [process.pid for process in spawner.processes[:3]]
    assert died == [process_name("generate", "tiny", "0", pid) for pid in pids]


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
        assert eventually(child.poll, "the child to be killed", seconds=10) == -9
