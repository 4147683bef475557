"""Starts worker processes (one per GPU), restarts those that end, and stops all.

Each child sees exactly its GPU. The leases of one that died are released at once. A stop (SIGTERM, SIGINT) goes to all
children, which release their chunks at the next denoising step. A child that still runs after STOP_SECONDS is killed,
which costs one chunk. A GPU moves to another model as by a stop of its child and a start of another.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import FrameType

from core.service.admission.catalog import Catalog
from core.service.domain.errors import SetupError
from core.service.domain.ports import WorkerKind
from core.service.logs import set_up_logs
from core.service.setting_checks import warn_of_settings
from core.service.settings import Settings, read_settings
from worker.children import Child, ChildPlan, Spawn, plan_child, plan_children, spawn_child
from worker.gpus import choose_gpus
from worker.maintenance.dead_workers import DeadWorkerCleaner
from worker.pools import LOOK_SECONDS, RedisSurroundings, SlotController, read_pools
from worker.runtime.ticker import Ticker

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
STOP_SECONDS = 60.0
LAST_LOOK_SECONDS = 3.0
"""How long the end waits for a look at the queues that is in progress."""


@dataclass
class Supervisor:
    """Keeps its children running until `stop` is set. `kill` kills those that are still stopping.

    `plans`: None for a slot without a child until it is moved.
    """

    plans: Sequence[ChildPlan | None]
    on_death: Callable[[str], None]
    """Called with the name of a child that ended by itself."""
    spawn: Spawn = spawn_child
    stop_seconds: float = STOP_SECONDS
    stop: threading.Event = field(default_factory=threading.Event)
    kill: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._children = [Child(plan) for plan in self.plans]
        self._moves = SimpleQueue[tuple[int, ChildPlan]]()

    def run(self) -> None:
        """Returns when all children have ended."""
        try:
            while not self.stop.is_set():
                self._note_moves()
                for child in self._children:
                    child.keep_running(self.spawn, self.on_death, self.stop_seconds)
                self.stop.wait(POLL_SECONDS)
        finally:
            self._stop()

    def move(self, number: int, plan: ChildPlan) -> None:
        """Replace the child of a slot: it gets SIGTERM, and the one of `plan` is started when it has ended. From any
        thread; returns at once."""
        self._moves.put((number, plan))

    def _note_moves(self) -> None:
        while not self._moves.empty():
            number, plan = self._moves.get()
            self._children[number].next_plan = plan

    def names(self) -> list[str | None]:
        """The name of the process of each slot; None where none runs."""
        return [child.name for child in self._children]

    def _stop(self) -> None:
        running = [(child.plan, child.process) for child in self._children]
        children = [(plan.label, process) for plan, process in running if plan is not None and process is not None]
        for _, process in children:
            process.terminate()
        deadline = time.monotonic() + self.stop_seconds
        for label, process in children:
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


def run(*, kind: WorkerKind, model: str | None, gpus: str, pools: Sequence[str] = ()) -> int:
    """`longtake worker`: runs until SIGTERM or SIGINT; a second one kills. `model`: None for the default one, and with
    `pools`, the texts of --pool. Raises SetupError if `gpus` or `pools` are invalid, or do not go with the others."""
    chosen = choose_gpus(gpus) if kind != "cpu" else []
    settings = read_settings()
    set_up_logs(settings, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    warn_of_settings(settings)
    if pools and chosen == [""] and gpus != "none":
        logger.warning("no GPU was found: the pools share one worker on the CPU (--gpus none says that it is meant)")
    if pools:
        return _run_pools(kind, model, chosen, pools, settings)
    cleaner = DeadWorkerCleaner(settings, media_threads=settings.media_fetches if kind == "cpu" else 0)
    return _run(Supervisor(plan_children(kind, model or settings.default_model, chosen), cleaner.clean_up))


def _run_pools(
    kind: WorkerKind, model: str | None, gpus: Sequence[str], pools: Sequence[str], settings: Settings
) -> int:
    """The GPUs serve the models that need them."""
    if kind != "both":
        raise SetupError(f"--pool does not go with --kind {kind}", fix="leave --kind out: workers of pools do both")
    if model is not None:
        raise SetupError("--pool does not go with --model", fix="name each model in a --pool")
    controller = SlotController(
        read_pools(pools, Catalog(settings), len(gpus)),
        len(gpus),
        RedisSurroundings(settings, gpus),
        target_seconds=settings.target_queue_seconds,
        hold_seconds=settings.pool_hold_seconds,
    )

    def plan(number: int, name: str) -> ChildPlan:
        return plan_child(kind, name, gpus[number], number)

    plans = [None if name is None else plan(at, name) for at, name in enumerate(controller.first_models())]
    supervisor = Supervisor(plans, DeadWorkerCleaner(settings).clean_up)

    def look() -> None:
        for number, name in controller.look(supervisor.names()):
            supervisor.move(number, plan(number, name))

    ticker = Ticker("pools", LOOK_SECONDS, look).start()
    try:
        return _run(supervisor)
    finally:
        ticker.stop(LAST_LOOK_SECONDS)


def _run(supervisor: Supervisor) -> int:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        (supervisor.kill if supervisor.stop.is_set() else supervisor.stop).set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        supervisor.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
