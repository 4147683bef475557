"""One worker process: gets ready (or says why it is not), then works until it is told to stop.

    python -m worker.process --kind both --model sprites
    python -m worker.process --kind cpu

A process of kind `both` makes chunks and refines them on one device, in turn; `generate` and `refine` do one of these.
A CPU process finalises videos, sends webhooks and runs the janitor. All know the model half only by name: engines are
found when they are needed.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

from celery import signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.worker.state import active_requests

from core.service.admission.catalog import PresetFolder
from core.service.clock import SystemClock
from core.service.domain.device_fault import is_device_fault
from core.service.domain.errors import LongtakeError, SetupError, StoreError
from core.service.domain.ports import WorkerKind, WorkerStatus
from core.service.records.rebuild import Rescuer
from core.service.redis.client import REQUEST, WORKER, connect
from core.service.redis.health import check_store
from core.service.redis.job_store import RedisJobStore
from core.service.redis.outbox import RedisOutbox
from core.service.redis.queue import (
    CPU_QUEUE,
    JANITOR_QUEUE,
    MEDIA_QUEUE,
    WEBHOOKS_QUEUE,
    CeleryTaskQueue,
    make_celery_app,
    worker_options,
)
from core.service.redis.upload_store import RedisUploadStore
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.s3.storage import S3Storage
from core.service.settings import Settings, read_settings
from worker.app import Hooks, make_worker_app
from worker.engines import Engines, load_engines
from worker.ensure_weights import install
from worker.lanes.prepare import Preparer
from worker.maintenance.janitor import Janitor
from worker.maintenance.janitor_lock import RedisCoordination
from worker.runtime.consumer import BrokerWatch, PatientConsumer
from worker.runtime.names import process_name
from worker.runtime.self_probe import ProbeQueue, SelfProbe
from worker.runtime.services import Services
from worker.runtime.status import REPORT_SECONDS, ProcessActivity, StatusBoard, Watchdog
from worker.runtime.temporary_folders import remove_left_behind
from worker.runtime.thread_shutdown import Stoppable, stop_together
from worker.runtime.ticker import Ticker
from worker.webhooks.deliver import WebhookSender

logger = logging.getLogger("worker")

RETRY_SECONDS = 3.0
PROBE_SECONDS = 2.0
PREPARER_STOP_SECONDS = 5.0
EXIT_DEVICE_BROKEN = 70
EXIT_SETTINGS = 78
"""As sysexits.h calls a wrong configuration."""
EXIT_STALLED = 75


@dataclass(frozen=True)
class Options:
    """What a process is told. `parent_pid`: stop when this process is no longer the parent (its supervisor died)."""

    kind: WorkerKind
    model: str
    name: str
    parent_pid: int | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m worker.process`; returns the exit code."""
    try:
        settings = read_settings()
    except SetupError as error:
        sys.stderr.write(f"{error.with_fix}\n")
        return EXIT_SETTINGS
    options = read_options(sys.argv[1:] if arguments is None else arguments, settings)
    logging.basicConfig(
        level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # httpx would tell every URL in full, and those that clients give may hold secrets.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, logging.getLogger().level))
    # Celery's warning is about messages that are code; ours are JSON and nothing else is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    # And about what a later version will do to tasks when the broker is lost: ours go on, the lease decides.
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # `kill -USR1` shows where a process stands
    return Process(options, settings).run()


def read_options(arguments: Sequence[str], settings: Settings) -> Options:
    parser = argparse.ArgumentParser(prog="python -m worker.process", description="one Longtake worker process")
    parser.add_argument("--kind", choices=get_args(WorkerKind), required=True)
    parser.add_argument("--model", default=settings.default_model, help="preset of a process that computes")
    parser.add_argument("--slot", default="0", help="which of several like processes this is; part of its name")
    parser.add_argument("--parent-pid", type=int, help="stop when this process is no longer the parent")
    given = parser.parse_args(arguments)
    name = process_name(given.kind, given.model, given.slot, os.getpid())
    return Options(given.kind, given.model, name, given.parent_pid)


class Process:
    """The life of one worker process."""

    def __init__(
        self,
        options: Options,
        settings: Settings,
        load: Callable[..., Engines] = load_engines,
        watchdog: Watchdog | None = None,
    ) -> None:
        """`load`: how engines are loaded, worker.engines.load_engines."""
        self._load_engines = load
        self._options = options
        self._settings = settings
        self._drain = threading.Event()
        self._exit_code = 0
        self._watchdog = watchdog or Watchdog()
        # A CPU worker prepares many media at a time, each with a thread that keeps its lease.
        patience = replace(WORKER, max_connections=WORKER.max_connections + 2 * settings.media_fetches)
        records = connect(settings.redis_url, patience)
        clock, storage = SystemClock(), S3Storage(settings)
        self._services = Services(
            store=RedisJobStore(records, clock, retention_seconds=settings.retention_seconds, rescue=Rescuer(storage)),
            storage=storage,
            uploads=RedisUploadStore(records),
            queue=CeleryTaskQueue(make_celery_app(settings)),
            clock=clock,
            settings=settings,
            worker=options.name,
            drain=self._drain,
        )
        self._records = records
        # Impatient ones, for what must not keep a process that shall stop.
        self._quick_records = connect(settings.redis_url, REQUEST)
        self._quick_broker = connect(settings.broker_url, REQUEST)
        self._board = StatusBoard(RedisWorkerRegistry(self._quick_records), self._first_status())
        self._broker_watch = BrokerWatch(self._quick_broker, self._on_broker_away, self._on_consuming)
        self._activity = ProcessActivity(self._board, self._watchdog)

    def run(self) -> int:
        """Get ready, work, leave. Returns the exit code: 0 after being told to stop."""
        signal.signal(signal.SIGTERM, self._on_stop_signal)
        signal.signal(signal.SIGINT, self._on_stop_signal)
        with ExitStack() as stack:
            stack.callback(self._board.leave)
            self._start(stack, "status", REPORT_SECONDS, self._look_after)
            engines = self._until_ready()
            if not self._drain.is_set():
                self._work(engines, stack)
            self._board.set("draining")
        logger.info("%s has stopped", self._options.name)
        return self._exit_code

    def _first_status(self) -> WorkerStatus:
        return WorkerStatus(
            name=self._options.name,
            kind=self._options.kind,
            model=None if self._options.kind == "cpu" else self._options.model,
            state="starting",
            device="cpu",
            pid=os.getpid(),
            cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
            started_at=SystemClock().now(),
        )

    def _start(self, stack: ExitStack, name: str, seconds: float, action: Callable[[], object]) -> Ticker:
        """A ticker that is stopped when the process leaves; a webhook under way may take its time."""
        ticker = Ticker(name, seconds, action).start()
        stack.callback(ticker.stop, self._settings.webhook_timeout_seconds)
        return ticker

    def _until_ready(self) -> Engines | None:
        """Retry until servers answer and an engine is loaded; meanwhile say why not. None: CPU process, or a stop.

        A device that breaks meanwhile is of no more use to this process, however often it tries.
        """
        while not self._drain.is_set():
            try:
                check_store(self._quick_records)
                self._broker_watch.check()
                self._services.storage.ensure_bucket()
                return self._load()
            except Exception as error:  # a process's outermost frame: loading may raise anything; say it and try again
                if is_device_fault(error):
                    self._on_device_broken_loading(error)
                elif isinstance(error, LongtakeError):
                    self._not_ready(error.with_fix)
                else:
                    logger.exception("loading failed")
                    self._not_ready(f"{type(error).__name__}: {error}")
        return None

    def _load(self) -> Engines | None:
        kind, model = self._options.kind, self._options.model
        if kind == "cpu":
            return None
        # In a thread that ends: OpenMP keeps a team of threads for every thread that has computed. Two teams are more
        # threads than cores, and such hardly spin while they wait: 16 frames took 6.1 s instead of 3.0 s.
        with ThreadPoolExecutor(1, "load") as loader:
            load = loader.submit(self._load_engines, kind, self._settings, model, self._install, self._activity)
            engines = load.result()
        self._board.set_device(engines.device)
        return engines

    def _install(self, preset: PresetFolder) -> None:
        install(preset, self._installing, self._drain)

    def _installing(self, words: str) -> None:
        """How far it is: before any task, or within the first one that needs a refiner."""
        if self._board.status.state == "busy":
            self._activity.waiting(words)
        else:
            self._board.set("starting", reason=words)

    def _not_ready(self, reason: str) -> None:
        logger.error("%s is not ready: %s", self._options.name, reason)
        self._board.set("not_ready", reason=reason)
        self._drain.wait(RETRY_SECONDS)

    def _work(self, engines: Engines | None, stack: ExitStack) -> None:
        """Consume tasks until told to stop. Celery takes from several queues in turn."""
        hooks, queues = (
            Hooks(device_broken=self._on_device_broken),
            [CPU_QUEUE, MEDIA_QUEUE, WEBHOOKS_QUEUE, JANITOR_QUEUE],
        )
        if engines is None:
            remove_left_behind()
            hooks = self._start_cpu_threads(stack)
        else:
            queues = engines.queues()
        app = make_worker_app(self._settings, engines, self._services, self._activity, hooks)
        probes = ProbeQueue(app, self._quick_broker, self._options.name)
        probe = SelfProbe(probes.send, self._is_idle)
        probes.receive_with(probe.heard)
        # Celery leaves logging to us where somebody listens here, and says when it has been told to stop.
        signals.setup_logging.connect(_keep_logging, weak=False)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.task_postrun.connect(self._on_task_end, weak=False)
        options = worker_options([*queues, probes.name], self._options.name)
        consumer = partial(PatientConsumer, self._broker_watch)
        celery_worker = app.Worker(**options, consumer_cls=consumer, quiet=True, redirect_stdouts=False)
        probing = self._start(stack, "probe", PROBE_SECONDS, lambda: self._give_up_if(probe.look(), "no message comes"))
        celery_worker.start()
        probing.stop(REQUEST.read_seconds)
        with suppress(StoreError):  # it expires
            probes.remove()
        self._exit_code = self._exit_code or int(celery_worker.exitcode or 0)

    def _is_idle(self) -> bool:
        """Nothing keeps this process from taking a message at once."""
        return self._broker_watch.consuming and not active_requests and not self._drain.is_set()

    def _on_task_end(self, **_: object) -> None:
        """A task's message is acknowledged when the task returns: not before the broker is there to hear it."""
        self._broker_watch.wait(lambda: not self._drain.is_set())
        if self._broker_watch.consuming and self._board.status.state == "not_ready":
            self._on_consuming()  # it was silent only, and the connection is as it was

    def _on_broker_away(self, reason: str) -> None:
        if self._board.status.state != "busy" and self._board.status.reason != reason:
            logger.error("%s is not ready: %s", self._options.name, reason)
            self._board.set("not_ready", reason=reason)

    def _start_cpu_threads(self, stack: ExitStack) -> Hooks:
        sender = WebhookSender(RedisOutbox(self._records), self._services.store, self._services.clock, self._settings)
        janitor = Janitor(self._services, RedisCoordination(self._records))
        cleaning = Ticker("janitor", self._settings.janitor_interval_seconds, janitor.run)
        preparer = Preparer(self._services)
        seconds = self._settings.webhook_timeout_seconds  # a webhook under way may take its time
        together: dict[Stoppable, float] = {preparer: PREPARER_STOP_SECONDS, sender: seconds, cleaning: seconds}
        stack.callback(stop_together, together)
        for one in (sender, cleaning, preparer):
            one.start()
        return Hooks(wake_janitor=cleaning.wake, wake_sender=sender.wake, wake_preparer=preparer.wake)

    def _look_after(self) -> None:
        """Every few seconds: notice a dead supervisor, notice standing still, report.

        The report comes last: it raises where Redis is gone, and then the supervisor often is, too.
        """
        if self._options.parent_pid is not None and os.getppid() != self._options.parent_pid:
            logger.error("the supervisor is gone, stopping")
            os.kill(os.getpid(), signal.SIGTERM)
        stalled_seconds = self._watchdog.stalled_seconds()
        self._give_up_if(stalled_seconds is not None, f"nothing has moved for {stalled_seconds or 0:.0f} s")
        self._board.report()

    def _give_up_if(self, stalled: bool, why: str) -> None:
        """Leave at once, to be started again: whatever hangs here would keep an orderly end waiting, too."""
        if stalled:
            logger.critical("%s, giving this process up", why)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(EXIT_STALLED)

    def _on_device_broken(self) -> None:
        logger.critical("the device is of no more use to this process, stopping to be started again")
        self._exit_code = EXIT_DEVICE_BROKEN
        os.kill(os.getpid(), signal.SIGTERM)

    def _on_device_broken_loading(self, error: Exception) -> None:
        """Celery does not run yet: leaving is enough."""
        logger.critical("the device is of no more use to this process, leaving to be started again", exc_info=error)
        self._board.set("not_ready", reason=f"the device failed: {type(error).__name__}: {error}")
        self._exit_code = EXIT_DEVICE_BROKEN
        self._drain.set()

    def _on_stop_signal(self, _number: int, _frame: object) -> None:
        """Before Celery has its own handler."""
        self._drain.set()

    def _on_consuming(self) -> None:
        """Celery consumes. A signal that came before its handler was in place was noted only; now it can act on it."""
        if self._drain.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
        elif self._board.status.state != "busy":
            self._board.set("ready")
            logger.info("%s is ready", self._options.name)

    def _on_shutting_down(self, **_: object) -> None:
        """Celery has been told to stop: the chunk in hand is given back at its next step."""
        self._drain.set()
        threading.Thread(target=self._board.set, args=("draining",), daemon=True).start()


def _keep_logging(**_: object) -> None: ...


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    # All is given back by now. Taking the interpreter (and torch, and CUDA) apart piece by piece would only take time
    # from whoever waits for this process to be gone.
    os._exit(exit_code)
