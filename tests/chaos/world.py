"""The service under chaos: servers, proxies in front of them, API and workers as processes to be killed one by one.

Processes see the proxies; the harness reads the servers directly. Knows no fault and no job.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from cli.processes.child import Child
from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from core.service.domain.errors import LongtakeError, SetupError
from core.service.domain.ports import WorkerStatus
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.s3.storage import S3Storage
from tests.helpers.deadline import eventually
from tests.helpers.faulty_proxy import PASS, Behaviour, FaultyProxy
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service

MODEL = "chaos"
STEPS = 6
STEP_SECONDS = 0.06
LEASE_SECONDS = 3.0
SETTINGS = {
    "default_model": MODEL,
    "lease_ttl_seconds": LEASE_SECONDS,
    "janitor_interval_seconds": 1.0,
    "webhook_timeout_seconds": 3.0,
}
NUM_CPU_WORKERS = 2
S3_AS_OVER_A_NETWORK = Behaviour(delay_seconds=0.01)
"""The local S3 server answers so fast that nothing ever falls between a commit and what follows it."""
ADMIN_TIMEOUT_SECONDS = 3.0
KEY_OF_THIS_RUN = "LONGTAKE_S3_ACCESS_KEY_ID"
"""Drawn anew for each run and in the environment of all its processes, however they lost their parents."""


class World:
    """Use as a context manager: everything started is stopped at the end, also after an error."""

    def __init__(self, folder: Path, num_workers: int, seed: int) -> None:
        self.folder = folder
        self.num_workers = num_workers
        write_fake_preset(folder / "presets", MODEL, steps=STEPS, step_seconds=STEP_SECONDS, refiner=True)
        self.service = Service(folder, folder / "presets", **SETTINGS)
        self.redis_server: EmbeddedRedis = self.service.redis_server
        self.s3_server: EmbeddedS3 = self.service.s3_server
        self.records = FaultyProxy(self.redis_server.port, seed=seed)
        self.broker = FaultyProxy(self.redis_server.port, seed=seed + 1)
        self.s3 = FaultyProxy(self.s3_server.port, http=True, seed=seed + 2)
        self._storage = self.service.storage()
        self.open_jobs: Callable[[], Sequence[str]] = list
        """Ids of jobs that have not ended, for faults that look for one. Set by whoever submits jobs."""
        self._children: dict[str, Child] = {}
        self._down: set[str] = set()

    # --- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> World:
        try:
            self._start_everything()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_everything(self) -> None:
        self.service.start_servers()
        for proxy in (self.records, self.broker, self.s3):
            proxy.start()
        self.calm_network()
        self.service.fronts = {
            "redis_url": f"redis://127.0.0.1:{self.records.port}/0",
            "broker_url": f"redis://127.0.0.1:{self.broker.port}/1",
            "s3_endpoint_url": f"http://127.0.0.1:{self.s3.port}",
            "s3_public_endpoint_url": self.s3_server.endpoint_url,
        }
        for name in self.names():
            self.start(name)
        eventually(self._all_ready, "the API and all workers to be ready", seconds=120)

    def names(self) -> list[str]:
        """What runs: the API, supervisors of generation workers, supervisors of CPU workers."""
        return ["api", *self.generation_names(), *self.cpu_names()]

    def generation_names(self) -> list[str]:
        return [f"worker-{index}" for index in range(self.num_workers)]

    def cpu_names(self) -> list[str]:
        return [f"cpu-{index}" for index in range(NUM_CPU_WORKERS)]

    def _all_ready(self) -> bool:
        for child in self._children.values():
            child.check()
        ready = [status for status in self.workers() if status.state in {"ready", "busy"}]
        return self.service_answers() and len(ready) >= self.num_workers + NUM_CPU_WORKERS

    def service_answers(self) -> bool:
        try:
            return self.service.http.get("/healthz", timeout=2).is_success
        except httpx.TransportError:
            return False

    def tell_where_they_stand(self, names: Sequence[str]) -> None:
        """Let the workers of these supervisors write all their stacks into their logs (SIGUSR1)."""
        for process in self.worker_processes(names):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGUSR1)

    def stop_in_order(self) -> list[str]:
        """SIGTERM for every process of the service; command lines of those that are still there afterwards."""
        self.service.stop()
        self._children.clear()
        return [" ".join(process.cmdline()) for process in self._own_processes()]

    def close(self) -> None:
        """Stop all that was started, whatever state it is in. A second signal does not keep it from that."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._kill_own_processes()
            self._resume(self.redis_server)
            self._resume(self.s3_server)
            for proxy in (self.records, self.broker, self.s3):
                proxy.stop()
            self.service.close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _kill_own_processes(self) -> None:
        """Until none is left: a supervisor may start another one meanwhile."""
        while own := list(self._own_processes()):
            for process in own:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(own, timeout=5)

    def _own_processes(self) -> Iterator[psutil.Process]:
        """API, supervisors and workers of this run, by the key that only they were given."""
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                mine = process.environ().get(KEY_OF_THIS_RUN) == self.s3_server.access_key_id
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    @staticmethod
    def _resume(server: EmbeddedRedis | EmbeddedS3) -> None:
        with suppress(AssertionError, ProcessLookupError):  # not started, or gone
            os.kill(server.pid, signal.SIGCONT)

    # --- processes ---------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start one of `names()`; does not wait until it is ready."""
        self._down.discard(name)
        if name == "api":
            self._children[name] = self.service.start_api(wait=False)
        elif name in self.cpu_names():
            self._children[name] = self.service.start_worker("cpu", wait=False, name=name)
        else:
            self._children[name] = self.service.start_worker("both", MODEL, wait=False, name=name)

    def kill(self, name: str) -> int:
        """SIGKILL one of `names()` (of workers the supervisor), and keep it down until `start`. Its pid."""
        child = self._children.pop(name)
        self._down.add(name)
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        self.service.stop(child)
        return child.pid

    def tend(self) -> list[str]:
        """Start again what ended by itself, as a service manager would; says what that was."""
        said: list[str] = []
        for name, child in list(self._children.items()):
            try:
                child.check()
            except SetupError as error:
                said.append(error.message)
                self.service.stop(child)
                self.start(name)
        return said

    def worker_processes(self, names: Sequence[str]) -> list[psutil.Process]:
        """Worker processes under these supervisors, those that are starting too."""
        found: list[psutil.Process] = []
        for name in names:
            if name in self._children:
                with suppress(psutil.NoSuchProcess):
                    found += [*filter(_is_worker, psutil.Process(self._children[name].pid).children())]
        return found

    def workers(self) -> Sequence[WorkerStatus]:
        """What workers say of themselves; nothing where Redis does not answer."""
        try:
            with self.admin(0) as client:
                return RedisWorkerRegistry(client).all()
        except (RedisError, LongtakeError):
            return []

    def running_jobs(self) -> list[str]:
        """Of the jobs that have not ended, those that are being made now; nothing where the API does not say."""
        found: list[str] = []
        with suppress(httpx.TransportError):
            for job_id in self.open_jobs():
                answer = self.service.http.get(f"/jobs/{job_id}", timeout=ADMIN_TIMEOUT_SECONDS)
                if answer.status_code == 200 and answer.json()["status"] == "running":
                    found.append(job_id)
        return found

    def job_of(self, pid: int) -> str | None:
        """The job that a worker process says it works on."""
        return next((status.job_id for status in self.workers() if status.pid == pid), None)

    # --- servers -----------------------------------------------------------------------------------------------------

    def admin(self, database: int) -> redis.Redis:
        """A direct connection to Redis that gives up soon. Close it."""
        return redis.Redis.from_url(
            self.redis_server.url(database),
            decode_responses=True,
            socket_timeout=ADMIN_TIMEOUT_SECONDS,
            socket_connect_timeout=ADMIN_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def storage(self) -> S3Storage:
        """The bucket, read directly."""
        return self._storage

    def environment(self) -> dict[str, str]:
        """Of a command that is run beside the service."""
        return {**os.environ, **self.service.environment()}

    def calm_redis(self) -> None:
        """Both ways to Redis as in good times."""
        self.records.behave(PASS)
        self.broker.behave(PASS)

    def calm_network(self) -> None:
        """All proxies as in good times."""
        self.calm_redis()
        self.s3.behave(S3_AS_OVER_A_NETWORK)


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "worker.process" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    return False
