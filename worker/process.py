"""One worker process: loads its engine (or reports why it cannot), then works until it is told to stop.

    python -m worker.process --kind both --model sprites
    python -m worker.process --kind cpu

Kind `both` makes chunks and refines them on one device, whichever is next; `generate` and `refine` do one of these.
Kind `cpu` prepares input media, finalizes and measures videos, sends webhooks and runs the janitor.
"""

from __future__ import annotations

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
from functools import partial

from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.worker.state import active_requests

from core.service.admission.catalog import PresetFolder
from core.service.clock import SystemClock
from core.service.domain.device_fault import is_device_fault
from core.service.domain.errors import LongtakeError, SetupError, StoreError
from core.service.domain.ports import WorkerStatus
from core.service.logs import quiet_libraries, set_up_logs
from core.service.redis.client import REQUEST
from core.service.redis.health import check_store
from core.service.redis.queue import CPU_QUEUES, worker_options
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.request_ids import LOG_SUFFIX
from core.service.settings import Settings, read_settings
from core.service.tracing import set_up_traces
from worker.app import make_cpu_app, make_engine_app
from worker.backends import connect_backends
from worker.background import BackgroundThreads
from worker.engines import Engines, load_engines
from worker.ensure_weights import install
from worker.metrics import serve_metrics
from worker.options import Options, read_options
from worker.runtime.consumer import BrokerWatch, PatientConsumer
from worker.runtime.self_probe import ProbeQueue, SelfProbe
from worker.runtime.status import REPORT_SECONDS, ProcessActivity, StatusBoard, Watchdog
from worker.runtime.temporary_folders import remove_left_behind
from worker.runtime.ticker import Ticker

logger = logging.getLogger("worker")

RETRY_SECONDS = 3.0
PROBE_SECONDS = 2.0
EXIT_DEVICE_BROKEN = 70
EXIT_STALLED = 75
EXIT_SETTINGS = 78
"""As in sysexits.h: EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m worker.process`; returns the exit code."""
    try:
        settings = read_settings()
    except SetupError as error:
        sys.stderr.write(f"{error.with_fix}\n")
        return EXIT_SETTINGS
    options = read_options(sys.argv[1:] if arguments is None else arguments, settings)
    set_up_logs(settings, f"%(asctime)s %(levelname)s %(name)s: %(message)s{LOG_SUFFIX}", worker_id=options.name)
    quiet_libraries()
    # Celery warns about pickle; only JSON is accepted here.
    warnings.simplefilter("ignore", SecurityWarning)
    # Celery will cancel tasks when the broker is lost; here they continue, the lease decides.
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # `kill -USR1` prints all stacks
    return Process(options, settings).run()


class Process:
    """The life of one worker process. `load` loads the engines, as worker.engines.load_engines."""

    def __init__(
        self,
        options: Options,
        settings: Settings,
        load: Callable[..., Engines] = load_engines,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._load_engines = load
        self._options = options
        self._settings = settings
        self._drain = threading.Event()
        self._exit_code = 0
        self._watchdog = watchdog or Watchdog()
        self._backends = connect_backends(settings, options.name, self._drain)
        self._board = StatusBoard(RedisWorkerRegistry(self._backends.quick_records), self._first_status())
        self._broker_watch = BrokerWatch(self._backends.quick_broker, self._on_broker_away, self._on_consuming)
        self._activity = ProcessActivity(self._board, self._watchdog)

    def run(self) -> int:
        """Get ready, work, leave. Returns the exit code: 0 after a stop signal."""
        signal.signal(signal.SIGTERM, self._on_stop_signal)
        signal.signal(signal.SIGINT, self._on_stop_signal)
        with ExitStack() as stack:
            stack.callback(self._board.leave)
            stack.callback(set_up_traces("longtake-worker", self._options.name))
            stack.callback(serve_metrics(self._settings, self._options.number))
            self._start_ticker(stack, "status", REPORT_SECONDS, self._supervise)
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
            media_threads=self._settings.media_fetches if self._options.kind == "cpu" else 0,
        )

    def _start_ticker(self, stack: ExitStack, name: str, seconds: float, action: Callable[[], object]) -> Ticker:
        """A ticker that `stack` stops; a webhook request in progress may take its whole timeout."""
        ticker = Ticker(name, seconds, action).start()
        stack.callback(ticker.stop, self._settings.webhook_timeout_seconds)
        return ticker

    def _until_ready(self) -> Engines | None:
        """Retry until the servers answer and the engine is loaded; report the reason meanwhile.

        Returns None for a CPU process and after a stop signal. A device fault ends the process: no retry would help.
        """
        while not self._drain.is_set():
            try:
                check_store(self._backends.quick_records)
                self._broker_watch.check()
                self._backends.services.storage.ensure_bucket()
                return self._load()
            except Exception as error:  # a process's outermost frame: loading may raise anything
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
        # In a thread that ends, because OpenMP keeps a team of threads for every thread that has computed. Two teams
        # have more threads than cores and therefore sleep while they wait: 16 frames took 6.1 s instead of 3.0 s.
        with ThreadPoolExecutor(1, "load") as loader:
            load = loader.submit(self._load_engines, kind, self._settings, model, self._install, self._activity)
            engines = load.result()
        self._board.set_device(engines.device)
        return engines

    def _install(self, preset: PresetFolder) -> None:
        install(preset, self._report_installation, self._drain)

    def _report_installation(self, progress: str) -> None:
        """Called before the first task, or within the first task that needs a refiner."""
        if self._board.status.state == "busy":
            self._activity.waiting(progress)
        else:
            self._board.set("starting", reason=progress)

    def _not_ready(self, reason: str) -> None:
        logger.error("%s is not ready: %s", self._options.name, reason)
        self._board.set("not_ready", reason=reason)
        self._drain.wait(RETRY_SECONDS)

    def _work(self, engines: Engines | None, stack: ExitStack) -> None:
        """Consume tasks until told to stop. Celery reads the queues in turn."""
        app, queues = self._make_app(engines, stack)
        probes = ProbeQueue(app, self._backends.quick_broker, self._options.name)
        probe = SelfProbe(probes.send, self._is_idle)
        probes.receive_with(probe.received)
        # With a receiver connected Celery leaves logging alone.
        signals.setup_logging.connect(_keep_logging, weak=False)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.task_postrun.connect(self._on_task_end, weak=False)
        options = worker_options([*queues, probes.name], self._options.name)
        consumer = partial(PatientConsumer, self._broker_watch)
        celery_worker = app.Worker(**options, consumer_cls=consumer, quiet=True, redirect_stdouts=False)

        def check_probe() -> None:
            self._exit_if(probe.has_failed(), "no message comes back from the broker")

        ticker = self._start_ticker(stack, "probe", PROBE_SECONDS, check_probe)
        celery_worker.start()
        ticker.stop(REQUEST.read_seconds)
        with suppress(StoreError):  # the queue expires
            probes.remove()
        self._exit_code = self._exit_code or int(celery_worker.exitcode or 0)

    def _make_app(self, engines: Engines | None, stack: ExitStack) -> tuple[Celery, Sequence[str]]:
        """The Celery app and the queues it reads. A CPU process also starts its background threads."""
        services = self._backends.services
        if engines is not None:
            app = make_engine_app(self._settings, engines, services, self._activity, self._on_device_broken)
            return app, engines.queues()
        remove_left_behind()
        threads = BackgroundThreads(services, self._backends.records)
        stack.callback(threads.stop)
        threads.start()
        return make_cpu_app(self._settings, services, threads), CPU_QUEUES

    def _is_idle(self) -> bool:
        """A message sent now would be taken at once."""
        return self._broker_watch.consuming and not active_requests and not self._drain.is_set()

    def _on_task_end(self, **_: object) -> None:
        """Celery acknowledges a message when its task returns, so wait here until the broker takes writes."""
        self._broker_watch.wait(lambda: not self._drain.is_set())
        if self._broker_watch.consuming and self._board.status.state == "not_ready":
            self._on_consuming()  # the broker was silent, but the connection held

    def _on_broker_away(self, reason: str) -> None:
        if self._board.status.state != "busy" and self._board.status.reason != reason:
            logger.error("%s is not ready: %s", self._options.name, reason)
            self._board.set("not_ready", reason=reason)

    def _supervise(self) -> None:
        """Every REPORT_SECONDS: stop if the supervisor died, exit if work has stalled, report the status.

        The report comes last: it raises if Redis is away, and often the supervisor is gone then, too.
        """
        if self._options.parent_pid is not None and os.getppid() != self._options.parent_pid:
            logger.error("the supervisor is gone, stopping")
            os.kill(os.getpid(), signal.SIGTERM)
        stalled_seconds = self._watchdog.stalled_seconds()
        self._exit_if(stalled_seconds is not None, f"no progress for {stalled_seconds or 0:.0f} s")
        self._board.report()

    def _exit_if(self, stalled: bool, reason: str) -> None:
        """Exit at once, for the supervisor to restart: whatever hangs here would hang an orderly stop, too."""
        if stalled:
            logger.critical("%s, exiting", reason)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(EXIT_STALLED)

    def _on_device_broken(self) -> None:
        logger.critical("the device is unusable for this process, stopping for a restart")
        self._exit_code = EXIT_DEVICE_BROKEN
        os.kill(os.getpid(), signal.SIGTERM)

    def _on_device_broken_loading(self, error: Exception) -> None:
        """Celery does not run yet, so no signal is needed."""
        logger.critical("the device is unusable for this process, exiting for a restart", exc_info=error)
        self._board.set("not_ready", reason=f"the device failed: {type(error).__name__}: {error}")
        self._exit_code = EXIT_DEVICE_BROKEN
        self._drain.set()

    def _on_stop_signal(self, _number: int, _frame: object) -> None:
        """Until Celery installs its own handler."""
        self._drain.set()

    def _on_consuming(self) -> None:
        """Celery consumes now. A signal that came before its handler was installed is sent again."""
        if self._drain.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
        elif self._board.status.state != "busy":
            self._board.set("ready")
            logger.info("%s is ready", self._options.name)

    def _on_shutting_down(self, **_: object) -> None:
        """Celery was told to stop: the chunk in progress is released at its next step."""
        self._drain.set()
        threading.Thread(target=self._board.set, args=("draining",), daemon=True).start()


def _keep_logging(**_: object) -> None: ...


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    # Every lease is released by now. Finalizing the interpreter, torch and CUDA would only delay the exit.
    os._exit(exit_code)
