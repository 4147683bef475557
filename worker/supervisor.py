"""Starts worker processes (one per GPU), restarts those that end, and stops all.

Each child sees exactly its GPU. The leases of one that died are released at once. A stop (SIGTERM, SIGINT) goes to all
children, which release their chunks at the next denoising step. A child that still runs after STOP_SECONDS is killed,
which costs one chunk.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from core.service.domain.ports import WorkerKind
from core.service.logs import set_up_logs
from core.service.settings import Settings
from worker.gpus import available_gpus, choose_gpus
from worker.maintenance.dead_workers import DeadWorkerCleaner
from worker.runtime.names import process_name

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
STOP_SECONDS = 60.0
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
    return [
        ChildPlan(f"{kind} {model} on {f'GPU {gpu}' if gpu else 'CPU'}", kind, model, gpu or "cpu", gpu, number)
        for number, gpu in enumerate(gpus)
    ]


@dataclass
class _Child:
    """A child process and when it may be (re)started. Times are those of time.monotonic."""

    plan: ChildPlan
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    backoff_seconds: float = FIRST_BACKOFF_SECONDS
    pause_after_kill_seconds: float = FIRST_PAUSE_AFTER_KILL_SECONDS

    def start(self, spawn: Spawn) -> None:
        self.process = spawn(self.plan)
        self.started_at = time.monotonic()
        logger.info("%s: started, pid %d", self.plan.label, self.process.pid)

    def note_end(self, code: int) -> None:
        """It ended by itself: restart it after a pause that doubles while it keeps ending early."""
        if time.monotonic() - self.started_at > STEADY_SECONDS:
            self.backoff_seconds = FIRST_BACKOFF_SECONDS
            self.pause_after_kill_seconds = FIRST_PAUSE_AFTER_KILL_SECONDS
        pause = self._pause_after(code)
        logger.error("%s: ended with code %d, restarting in %g s", self.plan.label, code, pause)
        self.process = None
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


Spawn = Callable[[ChildPlan], "subprocess.Popen[bytes]"]


def spawn_child(plan: ChildPlan) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches only the supervisor, which forwards it once."""
    return subprocess.Popen(plan.command(), env=plan.environment(os.environ), start_new_session=True)  # noqa: S603 - ours


@dataclass
class Supervisor:
    """Keeps its children running until `stop` is set. `kill` kills those that are still stopping."""

    plans: Sequence[ChildPlan]
    on_death: Callable[[str], None]
    """Called with the name of a child that ended by itself."""
    spawn: Spawn = spawn_child
    stop_seconds: float = STOP_SECONDS
    stop: threading.Event = field(default_factory=threading.Event)
    kill: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Returns when all children have ended."""
        children = [_Child(plan) for plan in self.plans]
        try:
            while not self.stop.is_set():
                self._restart_ended(children)
                self.stop.wait(POLL_SECONDS)
        finally:
            self._stop(children)

    def _restart_ended(self, children: Sequence[_Child]) -> None:
        for child in children:
            if child.process is not None and (code := child.process.poll()) is not None:
                self.on_death(child.plan.name(child.process.pid))
                child.note_end(code)
            if child.process is None and time.monotonic() >= child.start_at:
                child.start(self.spawn)

    def _stop(self, children: Sequence[_Child]) -> None:
        running = [(child.plan.label, child.process) for child in children if child.process is not None]
        for _, process in running:
            process.terminate()
        deadline = time.monotonic() + self.stop_seconds
        for label, process in running:
            code = self._await(process, deadline)
            logger.info("%s: stopped with code %s", label, code)

    def _await(self, process: subprocess.Popen[bytes], deadline: float) -> int:
        while process.poll() is None:
            if self.kill.is_set() or time.monotonic() > deadline:
                logger.error("pid %d does not stop, killing it", process.pid)
                process.kill()
                return process.wait()
            time.sleep(POLL_SECONDS)
        return process.wait()


def run(*, kind: WorkerKind, model: str, gpus: str) -> int:
    """`longtake worker`: runs until SIGTERM or SIGINT; a second one kills. Raises SetupError if `gpus` is invalid."""
    chosen = choose_gpus(gpus, available_gpus) if kind != "cpu" else []
    settings = Settings()
    cleaner = DeadWorkerCleaner(settings, slots=settings.media_fetches if kind == "cpu" else 0)
    supervisor = Supervisor(plan_children(kind, model, chosen), cleaner.clean_up)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        (supervisor.kill if supervisor.stop.is_set() else supervisor.stop).set()

    set_up_logs(settings, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        supervisor.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
