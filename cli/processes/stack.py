"""The embedded stack: the whole service on one machine, without Docker or a cloud, as a context manager.

Real Redis and a real S3 server (cli.processes.embedded), the API, one generation worker and one CPU
worker, all as child processes on loopback ports.
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

from api.binding import check_binding
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
"""Kinds of workers, as sentences name them."""


@dataclass(frozen=True)
class StackOptions:
    """The user's choices. `port` 0 is a free port."""

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
        """Every process that this one has started; workers are children of their supervisors."""
        return [self.redis_server, self.s3_server, *self.children]

    @property
    def redis_program(self) -> str:
        """The program that serves as Redis: product, version and path."""
        binary = self.redis_server.binary
        return f"{binary} ({binary.path})"

    def check(self) -> None:
        """Raise SetupError if a process of the stack has ended; servers first, as others end because of them."""
        for part in self.parts:
            if (ending := part.ending()) is not None:
                raise SetupError(f"{part.name} ended with {ending}")

    def workers(self) -> list[WorkerStatus]:
        """This stack's workers. Redis may still list those of a run that was killed a moment ago."""
        with connect(self.settings.redis_url) as client:
            return [worker for worker in RedisWorkerRegistry(client).all() if worker.started_at >= self.started_at]


@contextmanager
def running_stack(options: StackOptions, stop: StopSignal) -> Generator[Stack]:
    """Start everything and wait until a job could be served; stop everything in reverse order at the end.

    Raises SetupError if this machine does not allow it, Stopped if a signal ends the wait.
    """
    with ExitStack() as cleanup:
        check_binding(options.host, read_settings())
        data_dir = prepare_folder(options.data_dir, MIN_FREE_BYTES)
        prepare_folder(data_dir / "logs")
        cleanup.enter_context(exclusive(data_dir))
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
def exclusive(data_dir: Path) -> Generator[None]:
    """Hold the lock of the data folder: two Redis servers would destroy its append-only file. Raises SetupError."""
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
    """Settings of the environment, with addresses and keys of the embedded servers."""
    chosen = read_settings()
    return chosen.model_copy(
        update={
            "redis_url": redis_server.url(0),
            "broker_url": redis_server.url(1),
            "s3_endpoint_url": s3_server.endpoint_url,
            "s3_public_endpoint_url": s3_server.endpoint_url,
            "s3_access_key_id": s3_server.access_key_id,
            "s3_secret_access_key": SecretStr(s3_server.secret_access_key),
            "webhook_secret": chosen.webhook_secret or SecretStr(webhook_secret_of(data_dir)),
            "webhook_allow_private_addresses": options.allow_private_webhooks or chosen.webhook_allow_private_addresses,
            "media": chosen.media if "media" in chosen.model_fields_set else "proxy",
            "default_model": options.model or chosen.default_model,
        }
    )


def webhook_secret_of(data_dir: Path) -> str:
    """The signing key in the data folder, generated at the first start, so that receivers can be configured once."""
    file = data_dir / "webhook_secret"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(generate_secret(), encoding="ascii")
    return file.read_text(encoding="ascii").strip()


def settings_environment(settings: Settings) -> dict[str, str]:
    """Environment variables that give a child process the same Settings. Settings that are None are left out."""
    environment: dict[str, str] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            environment[f"LONGTAKE_{name.upper()}"] = str(value)
    return environment


def ports_after_the_cpu_worker(settings: Settings) -> dict[str, str]:
    """Where workers beside the CPU worker, which is one process, serve metrics."""
    port = settings.worker_metrics_port
    return {"LONGTAKE_WORKER_METRICS_PORT": str(port + 1)} if 0 < port < 65535 else {}


def start_children(stack: Stack, options: StackOptions, port: int) -> None:
    """Start API and workers with the commands that docker-compose uses, too."""
    environment = {**os.environ, **settings_environment(stack.settings), "PYTHONUNBUFFERED": "1"}
    serve = ["api.server", "--host", options.host, "--port", str(port), "--grace-seconds", "3"]
    work = ["cli.main", "worker", "--model", stack.settings.default_model]
    commands = {
        "API": (serve, environment),
        "CPU worker": (["cli.main", "worker", "--kind", "cpu"], environment),
        "generation worker": (
            [*work, "--kind", "both", "--gpus", options.gpus],
            {**environment, **ports_after_the_cpu_worker(stack.settings)},
        ),
    }
    for name, (arguments, environment) in commands.items():
        log = stack.data_dir / "logs" / f"{name.lower().replace(' ', '_')}.log"
        stack.children.append(Child(f"the {name}", [sys.executable, "-m", *arguments], environment, log))


def wait_until_ready(stack: Stack) -> None:
    """Return once the API and a worker of each kind are ready. Raises SetupError with the reason if one cannot."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    wait_for(lambda: _answers(f"{stack.base_url}/readyz"), "the API", stack, deadline)
    for kind in ("both", "cpu"):
        wait_for(lambda kind=kind: _has_ready(stack, kind), f"the {NAMES[kind]} worker", stack, deadline)


def wait_for(ready: Callable[[], bool], what: str, stack: Stack, deadline: float) -> None:
    """Poll until ready() is true. Raises SetupError if a child ends or `deadline` (time.monotonic) passes."""
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
    """Whether a worker of this kind is ready. Raises SetupError with its reason if it reports that it cannot work."""
    try:
        workers = [worker for worker in stack.workers() if worker.kind == kind]
    except StoreError:
        return False  # stack.check() notices if Redis has ended
    for worker in workers:
        if worker.state == "not_ready":
            raise SetupError(f"the {NAMES[kind]} worker cannot work: {worker.reason}")
    return any(worker.state in {"ready", "busy"} for worker in workers)
