"""A real Redis and a real S3 server on this machine, for demos, tests and single-machine use. No Docker, no cloud."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import redis

from cli.processes.machine import LOOPBACK, prepare_folder
from cli.processes.programs import RedisBinary, find_rclone, find_redis
from cli.processes.server import EmbeddedServer


class EmbeddedRedis(EmbeddedServer):
    """A Redis that appends every write to disk and never evicts."""

    name = "Redis"
    log_name = "redis.log"
    _binary: RedisBinary | None = None

    def start(self) -> Self:
        self._binary = find_redis()
        return super().start()

    @property
    def binary(self) -> RedisBinary:
        """The program that was started."""
        assert self._binary is not None, "Redis was not started"
        return self._binary

    def url(self, database: int = 0) -> str:
        """redis:// URL of one of its 16 databases."""
        return f"redis://{LOOPBACK}:{self.port}/{database}"

    def _command(self, port: int) -> Sequence[str]:
        options = {
            "port": str(port),
            "bind": LOOPBACK,
            "dir": str(self._data_dir.resolve()),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [str(self.binary.path), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _answers(self, port: int) -> bool:
        with redis.Redis(host=LOOPBACK, port=port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


# A short directory cache: what one request has put, the next one sees in any case; files changed beside the server show
# after a second. Never 0s: rclone's cleaner then runs without a pause and takes a whole core (a put: 1 s, not 20 ms).
# No ETags: they would be MD5 sums, for which rclone reads a whole object before it answers a request for a part of it.
_S3_OPTIONS = (
    *("--config", "", "--allow-origin", "*", "--vfs-cache-mode", "off", "--dir-cache-time", "1s"),
    *("--etag-hash", ""),
)


class EmbeddedS3(EmbeddedServer):
    """rclone's S3 server over a folder, with one key pair. Buckets are folders in `data_dir`/objects."""

    name = "the S3 server"
    log_name = "s3.log"

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        """`port` None: a free port, chosen at each start. The keys are new with each object of this class."""
        super().__init__(data_dir, port)
        self.access_key_id = f"longtake{secrets.token_hex(6)}"
        self.secret_access_key = secrets.token_urlsafe(30)

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def _command(self, port: int) -> Sequence[str]:
        objects = prepare_folder(self._data_dir / "objects")
        return [str(find_rclone()), "serve", "s3", str(objects), "--addr", f"{LOOPBACK}:{port}", *_S3_OPTIONS]

    def _environment(self) -> Mapping[str, str]:
        """The keys are in the environment, as every user can read arguments; rclone's own variables are left out."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        return inherited | {
            "RCLONE_AUTH_KEY": f'"{self.access_key_id},{self.secret_access_key}"',
            "RCLONE_CACHE_DIR": str(self._data_dir.resolve() / "cache"),
        }
