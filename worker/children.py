"""A worker process as its supervisor sees it: how it is started, restarted, and moved to another model."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from core.service.domain.ports import WorkerKind
from worker.runtime.names import process_name

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0
FIRST_PAUSE_AFTER_KILL_SECONDS = 0.1
LONGEST_PAUSE_AFTER_KILL_SECONDS = 3.0
"""Pauses after a kill: not a failure of the child, but the kernel may kill again while memory is short."""
STEADY_SECONDS = 60.0
"""After this run time the pauses start from the shortest again."""


@dataclass(frozen=True)
class ChildPlan:
    """How to start one child, the `number`th from 0. `cuda_visible_devices`: None for the supervisor's own."""

    label: str
    kind: WorkerKind
    model: str
    slot: str
    cuda_visible_devices: str | None
    number: int = 0

    @property
    def arguments(self) -> tuple[str, ...]:
        model = () if self.kind == "cpu" else ("--model", self.model)
        return ("--kind", self.kind, *model, "--slot", self.slot, "--number", str(self.number))

    def name(self, pid: int) -> str:
        """The process's name."""
        return process_name(self.kind, self.model, self.slot, pid)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "worker.process", *self.arguments, "--parent-pid", str(os.getpid())]

    def environment(self, outer: Mapping[str, str]) -> dict[str, str]:
        # How long torch's OpenMP threads (libgomp) spin before they sleep. The default of 300,000 turns takes the cores
        # from other processes; none (OMP_WAIT_POLICY=PASSIVE) wakes threads late. 16 frames of `sprites` on two cores,
        # idle | beside two busy processes: PASSIVE 6.4 | 5.0 s, 10,000 turns 3.1 | 21 s, 1,000 turns 3.0 | 10 s.
        outer = {"GOMP_SPINCOUNT": "1000", **outer}
        if self.cuda_visible_devices is None:
            return dict(outer)
        # nvidia-smi numbers GPUs by bus, CUDA by speed unless set: the same number must mean the same GPU.
        pinned = {"CUDA_VISIBLE_DEVICES": self.cuda_visible_devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return {**outer, **pinned}


def plan_children(kind: WorkerKind, model: str, gpus: Sequence[str]) -> list[ChildPlan]:
    """One process per entry of `gpus` ("" is the CPU), or the one process of kind `cpu`."""
    if kind == "cpu":
        return [ChildPlan("cpu", "cpu", model, "0", "")]
    return [plan_child(kind, model, gpu, number) for number, gpu in enumerate(gpus)]


def plan_child(kind: WorkerKind, model: str, gpu: str, number: int) -> ChildPlan:
    """The process on one GPU ("" is the CPU)."""
    label = f"{kind} {model} on {f'GPU {gpu}' if gpu else 'CPU'}"
    return ChildPlan(label, kind, model, gpu or "cpu", gpu, number)


Spawn = Callable[[ChildPlan], "subprocess.Popen[bytes]"]


def spawn_child(plan: ChildPlan) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches only the supervisor, which forwards it once."""
    return subprocess.Popen(plan.command(), env=plan.environment(os.environ), start_new_session=True)  # noqa: S603 - ours


@dataclass
class Child:
    """A child process and when it may be (re)started. Times are those of time.monotonic.

    `plan`: None where there is nothing to run yet. `next_plan`: what replaces the process that still runs.
    """

    plan: ChildPlan | None
    next_plan: ChildPlan | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    kill_at: float | None = None
    """Set once the process was asked to end for `next_plan`; infinite once it was killed, which needs no repetition."""
    backoff_seconds: float = FIRST_BACKOFF_SECONDS
    pause_after_kill_seconds: float = FIRST_PAUSE_AFTER_KILL_SECONDS

    @property
    def name(self) -> str | None:
        """The name of its process; None if none runs."""
        plan, process = self.plan, self.process
        return None if plan is None or process is None else plan.name(process.pid)

    def keep_running(self, spawn: Spawn, on_death: Callable[[str], None], stop_seconds: float) -> None:
        """Start the process if it does not run and may, and move it if it shall; to be called again and again."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self._note_end(code, on_death)
        if self.next_plan is not None:
            self._move(stop_seconds)
        if self.plan is not None and self.process is None and time.monotonic() >= self.start_at:
            self.process = spawn(self.plan)
            self.started_at = time.monotonic()
            logger.info("%s: started, pid %d", self.plan.label, self.process.pid)

    def _move(self, stop_seconds: float) -> None:
        """Ask the process to end, as for a stop; once it has, the next plan is the child's."""
        now = time.monotonic()
        if self.process is None:
            self.plan, self.next_plan, self.kill_at = self.next_plan, None, None
            self.start_at = now
            self._forget_failures()
        elif self.kill_at is None:
            logger.info("%s: ends, for %s", self._label, self.next_plan and self.next_plan.label)
            self.process.terminate()
            self.kill_at = now + stop_seconds
        elif now > self.kill_at:
            logger.error("pid %d does not stop, killing it", self.process.pid)
            self.process.kill()
            self.kill_at = inf

    def _note_end(self, code: int, on_death: Callable[[str], None]) -> None:
        """It ended by itself: restart it after a pause that doubles while it keeps ending early."""
        name, was_asked = self.name, self.kill_at is not None
        self.process = None
        if name is not None and not (was_asked and code == 0):
            on_death(name)
        if was_asked:
            logger.info("%s: stopped with code %d", self._label, code)
            return
        if time.monotonic() - self.started_at > STEADY_SECONDS:
            self._forget_failures()
        pause = self._pause_after(code)
        logger.error("%s: ended with code %d, restarting in %g s", self._label, code, pause)
        self.start_at = time.monotonic() + pause

    def _pause_after(self, code: int) -> float:
        """`code` is negative for a signal (subprocess.Popen)."""
        if code < 0:
            pause = self.pause_after_kill_seconds
            self.pause_after_kill_seconds = min(2 * pause, LONGEST_PAUSE_AFTER_KILL_SECONDS)
        else:
            pause = self.backoff_seconds
            self.backoff_seconds = min(2 * pause, LONGEST_BACKOFF_SECONDS)
        return pause

    def _forget_failures(self) -> None:
        self.backoff_seconds = FIRST_BACKOFF_SECONDS
        self.pause_after_kill_seconds = FIRST_PAUSE_AFTER_KILL_SECONDS

    @property
    def _label(self) -> str:
        return "" if self.plan is None else self.plan.label
