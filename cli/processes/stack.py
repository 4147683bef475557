"""The embedded stack: the whole service on one machine, without Docker or a cloud, as a context manager.

Real Redis and a real S3 server (cli.processes.embedded), the API, one generation worker and one CPU
worker as child processes on free loopback ports. Knows processes and settings; knows nothing of jobs.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
from pydantic import SecretStr

from cli.processes.child import Child, stop_all
from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from cli.processes.machine import bind_error, free_port, prepare_folder
from cli.processes.restarts import Part
from cli.processes.stop_signal import StopSignal
from core.service.domain.errors import SetupError, StoreError
from core.service.domain.ports import WorkerStatus
from core.service.domain.webhook_secret import generate_secret
from core.service.redis.client import connect
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.settings import Settings, read_settings

MIN_FREE_BYTES = 200 * 2**20
START_TIMEOUT_SECONDS = 300.0
STOP_GRACE_SECONDS = 20.0
POLL_SECONDS = 0.05
NAMES = {"both": "generation", "cpu": "CPU"}
"""What the workers of a stack are called, by kind."""


@dataclass(frozen=True)
class StackOptions:
    """What a person chooses. Port 0 takes a free one."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    model: str | None = None
    gpus: str = "auto"
    allow_private_webhooks: bool = False


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    base_url: str
    settings: Settings
    data_dir: Path
    redis_server: EmbeddedRedis
    s3_server: EmbeddedS3
    children: list[Child] = field(default_factory=lambda: [])
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def parts(self) -> list[Part]:
        """Every process that this one has started. Workers are their supervisors'."""
        return [self.redis_server, self.s3_server, *self.children]

    @property
    def redis_program(self) -> str:
        """Which program serves as Redis: product, version and path."""
        binary = self.redis_server.binary
        return f"{binary} ({binary.path})"

    def check(self) -> None:
        """Raise SetupError where a process of the stack has ended. Servers first: others may have ended for them."""
        for part in self.parts:
            if (ending := part.ending()) is not None:
                raise SetupError(f"{part.name} ended with {ending}")

    def workers(self) -> list[WorkerStatus]:
        """This stack's workers. Redis may still remember those of a run that was killed a moment ago."""
        with connect(self.settings.redis_url) as client:
            return [worker for worker in RedisWorkerRegistry(client).all() if worker.started_at >= self.started_at]


@contextmanager
def running_stack(options: StackOptions, stop: StopSignal) -> Generator[Stack]:
    """Start everything, wait until a job could be served, and stop everything in reverse order at the end.

    Raises SetupError with one sentence where this machine does not allow it, Stopped when a signal ends the wait.
    """
    with ExitStack() as cleanup:
        data_dir = prepare_folder(options.data_dir, MIN_FREE_BYTES)
        prepare_folder(data_dir / "logs")
        cleanup.enter_context(only_user_of(data_dir))
        port = options.port or free_port()
        require_free_port(options.host, port)
        redis_server = cleanup.enter_context(EmbeddedRedis(data_dir / "redis"))
        s3_server = cleanup.enter_context(EmbeddedS3(data_dir / "s3"))
        settings = stack_settings(options, data_dir, redis_server, s3_server)
        stack = Stack(f"http://{options.host}:{port}", settings, data_dir, redis_server, s3_server)
        cleanup.callback(stop_all, stack.children, STOP_GRACE_SECONDS)
        start_children(stack, options, port)
        with stop.interruptible():
            wait_until_ready(stack)
        yield stack


@contextmanager
def only_user_of(data_dir: Path) -> Generator[None]:
    """Hold the folder's lock. Two Redis servers on one append-only file would destroy it."""
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SetupError(
                f"another Longtake is running on the data folder {data_dir}", fix="stop it, or choose another --data"
            ) from error
        yield


def require_free_port(host: str, port: int) -> None:
    """Raise SetupError if nothing can listen on host:port."""
    if (reason := bind_error(host, port)) is not None:
        raise SetupError(f"port {port} on {host} cannot be used: {reason}", fix="choose another --port")


def stack_settings(
    options: StackOptions, data_dir: Path, redis_server: EmbeddedRedis, s3_server: EmbeddedS3
) -> Settings:
    """The environment's settings with the embedded servers' addresses and keys put in."""
    given = read_settings()
    return given.model_copy(
        update={
            "redis_url": redis_server.url(0),
            "broker_url": redis_server.url(1),
            "s3_endpoint_url": s3_server.endpoint_url,
            "s3_public_endpoint_url": s3_server.endpoint_url,
            "s3_access_key_id": s3_server.access_key_id,
            "s3_secret_access_key": SecretStr(s3_server.secret_access_key),
            "webhook_secret": given.webhook_secret or SecretStr(kept_webhook_secret(data_dir)),
            "webhook_allow_private_addresses": options.allow_private_webhooks or given.webhook_allow_private_addresses,
            "media": given.media if "media" in given.model_fields_set else "proxy",
            "default_model": options.model or given.default_model,
        }
    )


def kept_webhook_secret(data_dir: Path) -> str:
    """The data folder's signing key, made at the first start and kept, so that receivers need it only once."""
    file = data_dir / "webhook_secret"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(generate_secret(), encoding="ascii")
    return file.read_text(encoding="ascii").strip()


def settings_environment(settings: Settings) -> dict[str, str]:
    """Settings as the environment variables that make the same Settings in a child process. None is left out."""
    environment: dict[str, str] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            environment[f"LONGTAKE_{name.upper()}"] = str(value)
    return environment


def start_children(stack: Stack, options: StackOptions, port: int) -> None:
    """Start API and workers. Each is a command that a person, or docker-compose, could run as well."""
    environment = {**os.environ, **settings_environment(stack.settings), "PYTHONUNBUFFERED": "1"}
    serve = ["api.server", "--host", options.host, "--port", str(port), "--grace-seconds", "3"]
    work = ["cli.main", "worker", "--model", stack.settings.default_model]
    commands = {
        "API": serve,
        "CPU worker": ["cli.main", "worker", "--kind", "cpu"],
        "generation worker": [*work, "--kind", "both", "--gpus", options.gpus],
    }
    for name, arguments in commands.items():
        log = stack.data_dir / "logs" / f"{name.lower().replace(' ', '_')}.log"
        stack.children.append(Child(f"the {name}", [sys.executable, "-m", *arguments], environment, log))


def wait_until_ready(stack: Stack) -> None:
    """Return once the API and a worker of each kind are ready. Raises SetupError with the reason where they are not."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    wait_for(lambda: _answers(f"{stack.base_url}/readyz"), "the API", stack, deadline)
    for kind in ("both", "cpu"):
        wait_for(lambda kind=kind: _has_ready(stack, kind), f"the {NAMES[kind]} worker", stack, deadline)


def wait_for(ready: Callable[[], bool], what: str, stack: Stack, deadline: float) -> None:
    """Poll until ready() holds. Raises SetupError when a child ends or the deadline (time.monotonic) passes."""
    while not ready():
        stack.check()
        if time.monotonic() > deadline:
            raise SetupError(f"{what} was not ready in time", fix=f"read the logs in {stack.data_dir / 'logs'}")
        time.sleep(POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _has_ready(stack: Stack, kind: str) -> bool:
    """A worker of this kind is ready. Raises SetupError with its own words where it says that it cannot be."""
    try:
        workers = [worker for worker in stack.workers() if worker.kind == kind]
    except StoreError:
        return False  # whether Redis has ended is asked elsewhere
    for worker in workers:
        if worker.state == "not_ready":
            raise SetupError(f"the {NAMES[kind]} worker cannot work: {worker.reason}")
    return any(worker.state in {"ready", "busy"} for worker in workers)
