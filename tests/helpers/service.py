"""The whole service as processes, under a test's control: start, kill and restart each part; submit and watch jobs.

Real Redis, real S3 server, `python -m api.server`, `longtake worker`: the commands that people run. Ports are fixed
for the life of a Service, so that a part can go away and come back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis
from pydantic import SecretStr

from cli.processes.child import Child, stop_all
from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from cli.processes.machine import free_port
from cli.processes.stack import settings_environment
from core.service.clock import SystemClock
from core.service.domain.ports import WorkerKind, WorkerStatus
from core.service.domain.schema import Chunk, Job, JobStatus, JobSummary, Variant
from core.service.domain.webhook_secret import generate_secret
from core.service.records.orphans import find_orphans
from core.service.redis.client import connect
from core.service.redis.job_store import RedisJobStore
from core.service.redis.upload_store import RedisUploadStore
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.s3.storage import S3Storage
from core.service.settings import Settings
from tests.helpers.deadline import eventually

STOP_GRACE_SECONDS = 20.0
PAUSE_SECONDS = 0.15
"""Between two looks at what takes seconds. Each look costs 4 ms, which waiting tests would take from working ones."""
QUICK = {
    "lease_ttl_seconds": 2.0,
    "janitor_interval_seconds": 0.5,
    "url_ttl_seconds": 3600,
    "torch_threads": 1,
    "measure_niceness": 0,
}
"""Settings that let a test see in seconds what takes longer in production, or has no end beside other tests."""


class FullJob(JobSummary):
    """A job with its chunks, as ?include=chunks shows it."""

    chunks: list[Chunk]


class Service:
    """Redis and S3 run from the start; API and workers when asked for. Use `running_service`."""

    def __init__(self, folder: Path, presets_dir: Path, **settings: Any) -> None:
        self.folder = folder
        self.redis_server = EmbeddedRedis(folder / "redis", free_port())
        self.s3_server = EmbeddedS3(folder / "s3", free_port())
        self.webhook_secret = generate_secret()
        self._presets_dir = presets_dir
        self._chosen = settings
        self.launcher: list[str] = []
        """What every process' command begins with."""
        self.fronts: dict[str, Any] = {}
        """Settings that only the processes are given: addresses of proxies, while tests read the servers directly."""
        self._children: list[Child] = []
        self._clients = ExitStack()
        """Of Redis, given to tests: closed with the service, as some would stay open to the end of pytest."""
        self.api_port = free_port()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}", trust_env=False, timeout=30)

    # --- parts -------------------------------------------------------------------------------------------------------

    def start_servers(self) -> None:
        self.redis_server.start()
        self.s3_server.start()

    @property
    def settings(self) -> Settings:
        """What every process of this service is given, but for `fronts`."""
        return Settings().model_copy(
            update={
                **QUICK,
                "redis_url": self.redis_server.url(0),
                "broker_url": self.redis_server.url(1),
                "s3_endpoint_url": self.s3_server.endpoint_url,
                "s3_access_key_id": self.s3_server.access_key_id,
                "s3_secret_access_key": SecretStr(self.s3_server.secret_access_key),
                "presets_dir": self._presets_dir,
                "webhook_secret": SecretStr(self.webhook_secret),
                "webhook_allow_private_addresses": True,
                **self._chosen,
            }
        )

    def choose(self, **settings: Any) -> None:
        """Settings of processes that are started from now on."""
        self._chosen.update(settings)

    def start_api(self, *, wait: bool = True, port: int | None = None, grace_seconds: int = 10) -> Child:
        """Start the API and wait until it answers. `port`: of one more, which nobody waits for. `grace_seconds`: what
        open responses have when it stops."""
        serve = ["api.server", "--port", str(port or self.api_port), "--grace-seconds", str(grace_seconds)]
        child = self._start("api", serve)
        if wait:
            eventually(lambda: self._alive(child) and self._answers(), "the API to answer")
        return child

    def start_worker(self, kind: str, model: str = "fake", *, wait: bool = True, name: str | None = None) -> Child:
        """Start `longtake worker` for one model (or the CPU tasks) and wait until it is ready. `name` is its log's."""
        of_model = [] if kind == "cpu" else ["--gpus", "none", "--model", model]
        name = name or ("cpu" if kind == "cpu" else f"{kind}-{model}")
        child = self._start(name, ["cli.main", "worker", "--kind", kind, *of_model])
        if wait:
            eventually(
                lambda: self._is_ready(child), f"{child.name} to be ready", seconds=120, pause_seconds=PAUSE_SECONDS
            )
        return child

    def start_workers(self, *models: str) -> None:
        """Start a CPU worker and a worker for both lanes of each of these models, all at once."""
        children = [self.start_worker("cpu", wait=False)]
        children += [self.start_worker("both", model, wait=False) for model in models]
        eventually(
            lambda: all(map(self._is_ready, children)),
            f"workers for {', '.join(models)}",
            seconds=180,
            pause_seconds=PAUSE_SECONDS,
        )

    def start_pools(self, *pools: str, gpus: str) -> Child:
        """Start `longtake worker` with these `--pool`, and do not wait. `gpus`: a list that need not exist, or none."""
        arguments = [argument for pool in pools for argument in ("--pool", pool)]
        if gpus == "none":
            return self._start("pools", ["cli.main", "worker", "--gpus", "none", *arguments])
        return self._start("pools", ["cli.main", "worker", *arguments], CUDA_VISIBLE_DEVICES=gpus)

    def _is_ready(self, supervisor: Child) -> bool:
        """The worker process under this `longtake worker` can take tasks."""
        supervisor.check()
        ready = {status.pid for status in self.workers() if status.state in {"ready", "busy"}}
        return any(child.pid in ready for child in psutil.Process(supervisor.pid).children())

    def children(self) -> list[Child]:
        return [*self._children]

    def stop(self, *children: Child) -> None:
        """Stop some children in order (SIGTERM), or all of them."""
        stop_all(children or self._children, STOP_GRACE_SECONDS)
        self._children = [child for child in self._children if child not in children] if children else []

    def check_that_nothing_is_left(self) -> None:
        """No object and no key belongs to nobody, as soon as a janitor has been there. Needs servers that run."""
        with self.redis() as client:
            store = RedisJobStore(client, SystemClock(), retention_seconds=self.settings.retention_seconds)
            if store.has_all_records():
                look = partial(find_orphans, store, self.storage(), RedisUploadStore(client))
                eventually(lambda: not [*look()], "every object and key to belong to somebody")

    def close(self) -> None:
        self.http.close()
        self._clients.close()
        self.stop()
        self.s3_server.stop()
        self.redis_server.stop()

    def workers(self) -> Sequence[WorkerStatus]:
        with connect(self.settings.redis_url) as client:
            return RedisWorkerRegistry(client).all()

    def worker_pid(self, model: str, kind: WorkerKind = "both") -> int | None:
        """Process id of the worker for this model. A killed one stays registered for a while."""
        alive = (
            status for status in self.workers() if status.state in {"ready", "busy"} and psutil.pid_exists(status.pid)
        )
        return next((status.pid for status in alive if (status.model, status.kind) == (model, kind)), None)

    def redis(self) -> redis.Redis:
        return self._clients.enter_context(connect(self.settings.redis_url))

    def redis_database(self, number: int) -> redis.Redis:
        """Database 0 holds the records, 1 is Celery's."""
        return self._clients.enter_context(redis.Redis.from_url(self.redis_server.url(number)))

    def storage(self) -> S3Storage:
        return S3Storage(self.settings)

    def logs(self, lines: int = 15) -> str:
        """The end of every process's log, for the report of a failed test."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {file.name}\n" + "\n".join(file.read_text().splitlines()[-lines:]) for file in files)

    def _start(self, name: str, module: Sequence[str], **variables: str) -> Child:
        environment = {**os.environ, **self.environment(), "OMP_NUM_THREADS": "1", **variables}
        log = self.folder / f"{name}.log"
        child = Child(name, [*self.launcher, sys.executable, "-m", *module], environment, log)
        self._children.append(child)
        return child

    def environment(self) -> dict[str, str]:
        """The settings as processes find them in their environment."""
        return settings_environment(self.settings.model_copy(update=self.fronts))

    def _alive(self, child: Child) -> bool:
        """True; raises SetupError with the child's last words where it has ended."""
        child.check()
        return True

    def _answers(self) -> bool:
        try:
            return self.http.get("/healthz").is_success
        except httpx.TransportError:
            return False

    # --- jobs --------------------------------------------------------------------------------------------------------

    def submit(self, **fields: Any) -> Job:
        """POST /jobs with these fields, on the fake preset unless told otherwise."""
        asked = {"model": "fake", "prompt": "a red square", "seed": 1, **fields}
        response = self.http.post("/jobs", json={name: value for name, value in asked.items() if value is not None})
        assert response.status_code == 202, response.text
        return Job.model_validate_json(response.content)

    def job(self, job_id: str) -> FullJob:
        response = self.http.get(f"/jobs/{job_id}", params={"include": "chunks"})
        assert response.status_code == 200, response.text
        return FullJob.model_validate_json(response.content)

    def wait_for_chunks(self, job_id: str, count: int, seconds: float = 60) -> list[Chunk]:
        """The job's chunks as soon as there are at least `count`."""

        def enough() -> list[Chunk] | None:
            chunks = self.job(job_id).chunks
            return chunks if len(chunks) >= count else None

        return eventually(enough, f"{count} chunks of {job_id}", seconds=seconds)

    def wait_for_end(self, job_id: str, seconds: float = 90) -> FullJob:
        """The job once its status is terminal."""

        def ended() -> FullJob | None:
            job = self.job(job_id)
            return job if job.status.is_terminal else None

        return eventually(ended, f"{job_id} to end", seconds=seconds, pause_seconds=PAUSE_SECONDS)

    def wait_for_success(self, job_id: str, seconds: float = 90) -> FullJob:
        job = self.wait_for_end(job_id, seconds)
        assert job.status is JobStatus.SUCCEEDED, job.error
        return job

    def video(self, job_id: str, variant: Variant = "preview") -> bytes:
        """The final MP4, by the redirect that a client would follow."""
        response = self.http.get(f"/jobs/{job_id}/video", params={"variant": variant}, follow_redirects=True)
        assert response.status_code == 200, response.text
        return response.content


def fetch(url: str) -> bytes:
    """What is behind a chunk's link, as any HTTP client would get it."""
    response = httpx.get(url, trust_env=False, timeout=30, follow_redirects=True)
    assert response.status_code == 200, response.text
    return response.content


@contextmanager
def running_service(folder: Path, presets_dir: Path, **settings: Any) -> Generator[Service]:
    """A Service with its servers and API up, and everything stopped at the end."""
    service = Service(folder, presets_dir, **settings)
    try:
        service.start_servers()
        service.start_api()
        yield service
        service.check_that_nothing_is_left()
    finally:
        service.close()
