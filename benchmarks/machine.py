"""The machine of a benchmark: CPU, memory, versions, commit. "unknown" if /proc or git cannot tell."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Generator
from contextlib import chdir, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from core.service.settings import SHIPPED_PRESETS_DIR

REPOSITORY = Path(__file__).resolve().parents[1]


def describe() -> dict[str, str | int | float]:
    """What is needed to compare two results."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "diffusers", "av")},
    }


def cpu_model() -> str:
    """The processor's name as the kernel knows it."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or "unknown"


def commit() -> str:
    """The checkout's commit; `-dirty` if it has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


@contextmanager
def processes_of(tree: Path) -> Generator[None]:
    """Within it, `python -m` in a child process runs the modules of another checkout, with its presets."""
    other = {"PYTHONPATH": str(tree), "LONGTAKE_PRESETS_DIR": str(tree / SHIPPED_PRESETS_DIR.relative_to(REPOSITORY))}
    before = {variable: os.environ.get(variable) for variable in other}
    os.environ.update(other)
    try:
        with chdir(tree):
            yield
    finally:
        for variable, value in before.items():
            os.environ.pop(variable)
            if value is not None:
                os.environ[variable] = value


def name() -> str:
    """A file name for this machine's results."""
    cores = describe()["cores"]
    return f"cpu-{cores}-cores"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
