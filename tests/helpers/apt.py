"""Programs that tests compare with and that are no Python packages: FFmpeg, GStreamer, Chromium. Knows no test.

A missing program is installed by apt-get if this is root on Debian or Ubuntu; otherwise the test is skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

_MOST_SECONDS = 900
_OPTIONS = ("-y", "-q", "--no-install-recommends", "-o", f"DPkg::Lock::Timeout={_MOST_SECONDS}")


def program(name: str, packages: Sequence[str]) -> Path:
    """Where `name` is, out of Debian's `packages`. Skips the test, with its reason, where it cannot be had."""
    reason = _missing(name, tuple(packages))
    if reason is not None:
        pytest.skip(reason)
    found = shutil.which(name)
    assert found is not None
    return Path(found)


@cache
def _missing(name: str, packages: tuple[str, ...]) -> str | None:
    """Why `name` cannot be had; None where it is there. Asked once in a process."""
    if shutil.which(name):
        return None
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"{name} is not installed; `sudo apt-get install {' '.join(packages)}` brings it"
    with _one_process_at_a_time():
        said = _install(name, packages)
    return None if shutil.which(name) else f"apt-get could not install {' '.join(packages)}: {said}"


@contextmanager
def _one_process_at_a_time() -> Generator[None]:
    """Test processes that run side by side wait for one another, and find the program when it is their turn."""
    with (Path(tempfile.gettempdir()) / "longtake-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(name: str, packages: tuple[str, ...]) -> str:
    """Installs from the lists that are there, and from new ones where that fails; the last words of apt-get."""
    said = ""
    for command in (["install", *packages], ["update"], ["install", *packages]):
        if shutil.which(name):
            break
        said = _apt_get(command)
    return said


def _apt_get(command: Sequence[str]) -> str:
    command = [shutil.which("apt-get") or "apt-get", *_OPTIONS, *command]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MOST_SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        return f"not done after {_MOST_SECONDS} s"
    return (done.stderr or done.stdout).strip()[-300:]
