"""A Redis that a test can make fail: any option, frozen, killed, busy. Loopback only, ended with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from cli.processes.machine import LOOPBACK, free_port
from cli.processes.programs import find_redis
from core.processes import end_with_parent
from tests.helpers.certificates import Certificate
from tests.helpers.deadline import eventually


class RedisServer:
    """One server process on a port of its own, which it keeps when it is started again."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        config: str | None = None,
        program: Path | None = None,
        tls: Certificate | None = None,
        wants_certificates: bool = False,
    ) -> None:
        """`config` is the text of a configuration file, which a Sentinel must have. `program`: another server than the
        one that `longtake up` takes. `tls`: what it shows to clients; then it speaks nothing but TLS, and may
        want certificates of clients."""
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "redis.conf"
        self._config.write_text(config or "")
        self.folder = folder
        self.options = options
        self.port = free_port()
        self._program = program
        self.tls = tls
        self._wants_certificates = wants_certificates
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0, login: str = "") -> str:
        """With TLS: names the CA."""
        if self.tls is not None:
            return f"rediss://{login}{LOOPBACK}:{self.port}/{database}?ssl_ca_certs={self.tls.authority}"
        return f"redis://{login}{LOOPBACK}:{self.port}/{database}"

    def client(self, **options: object) -> redis.Redis:
        """A bare client for the test's own words to the server."""
        chosen = {"socket_timeout": 10, "decode_responses": True, "retry": Retry(NoBackoff(), 0), **options}
        if self.tls is not None:
            own = {"ssl_certfile": self.tls.file, "ssl_keyfile": self.tls.key} if self._wants_certificates else {}
            chosen = {"ssl": True, "ssl_cert_reqs": "none", **own, **chosen}
        return redis.Redis(host=LOOPBACK, port=self.port, **chosen)  # pyright: ignore[reportArgumentType]

    def start(self, *more: str) -> Self:
        """Returns once the server says something, if only that it is loading or wants a password."""
        command = [str(self._program or find_redis().path), str(self._config), "--bind", LOOPBACK]
        command += ["--dir", str(self.folder), *self._ports()]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.options, *more], stdout=log, stderr=log, preexec_fn=end_with_parent
            )
        eventually(self._speaks, "Redis to start")
        return self

    def _ports(self) -> list[str]:
        if self.tls is None:
            return ["--port", str(self.port)]
        files = {"cert": self.tls.file, "key": self.tls.key, "ca-cert": self.tls.authority}
        named = [word for name, path in files.items() for word in (f"--tls-{name}-file", str(path))]
        wanted = "yes" if self._wants_certificates else "optional"
        ports = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", wanted]
        return [*ports, "--tls-replication", "yes", *named]

    def _speaks(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except (BusyLoadingError, AuthenticationError):
                return True
            except RedisConnectionError:
                return False

    def set(self, **config: object) -> None:
        """CONFIG SET; underscores stand for hyphens."""
        with self.client() as client:
            for name, value in config.items():
                client.config_set(name.replace("_", "-"), str(value))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Alive to the kernel, which takes connections, and silent."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def busy(self) -> Generator[None]:
        """A script that does not end keeps everybody waiting."""
        self.set(lua_time_limit=20)

        def spin() -> None:
            with self.client() as client, suppress(RedisError):
                client.eval("while true do end", 0)

        spinning = threading.Thread(target=spin)
        spinning.start()
        try:
            eventually(self._is_busy, "the script to run")
            yield
        finally:
            with self.client() as client:
                client.script_kill()
            spinning.join()

    def _is_busy(self) -> bool:
        with self.client() as client:
            try:
                client.get("anything")
            except ResponseError as error:
                return "BUSY" in str(error)
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@contextmanager
def full(client: redis.Redis) -> Generator[None]:
    """Its memory is used up: OOM for whatever needs more."""
    client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")


@contextmanager
def demoted(client: redis.Redis) -> Generator[None]:
    """A replica without a master, as after a failover: READONLY for whatever writes."""
    client.replicaof(LOOPBACK, "1")
    try:
        yield
    finally:
        client.replicaof("NO", "ONE")


@contextmanager
def unable_to_save(client: redis.Redis) -> Generator[None]:
    """Its snapshot cannot be written, as on a full disk: MISCONF for whatever writes."""
    folder = cast("dict[str, str]", client.config_get("dir"))["dir"]
    snapshot = Path(folder) / cast("dict[str, str]", client.config_get("dbfilename"))["dbfilename"]
    snapshot.unlink(missing_ok=True)
    snapshot.mkdir()
    client.config_set("save", "3600 1")
    _save(client, "err")
    try:
        yield
    finally:
        snapshot.rmdir()
        _save(client, "ok")
        client.config_set("save", "")


def _save(client: redis.Redis, status: str) -> None:
    client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == status, f"a save that is {status}")  # pyright: ignore[reportIndexIssue]
