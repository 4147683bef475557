"""What setup depends on: GPU, free disk, Python, and whether PyTorch's CPU index answers. Installs nothing."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import threading
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from setup.reasons import SetupFailed

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's builds without CUDA. Those of PyPI for Linux bring gigabytes of NVIDIA's libraries."""
CPU_INDEX_SECONDS = 4.0
VENV_MODULES = ("venv", "ensurepip")


@dataclass(frozen=True)
class Sizes:
    """Megabytes, rounded up: to download, and installed in .venv."""

    download_mb: int
    disk_mb: int


# Measured on Linux x86-64 with Python 3.11 and 3.13.
OTHERS = Sizes(350, 1500)
TORCH_CPU = Sizes(200, 800)
TORCH_CUDA = Sizes(3000, 6000)


@dataclass(frozen=True)
class Machine:
    """What setup depends on."""

    system: str
    has_nvidia: bool
    cpu_index_answers: bool

    @property
    def wants_cpu_build(self) -> bool:
        """Only PyPI's torch for Linux depends on the CUDA libraries."""
        return self.system == "Linux" and not self.has_nvidia

    @property
    def torch_from_cpu_index(self) -> bool:
        return self.wants_cpu_build and self.cpu_index_answers

    @property
    def torch(self) -> Sizes:
        return TORCH_CPU if self.torch_from_cpu_index or self.system != "Linux" else TORCH_CUDA


def detect_machine() -> Machine:
    """Asks PyTorch's index only if its answer matters."""
    system, nvidia = platform.system(), has_nvidia()
    return Machine(system, nvidia, system == "Linux" and not nvidia and answers(f"{CPU_INDEX}/torch/"))


def has_nvidia(search_path: str | None = None, devices: Path = Path("/dev")) -> bool:
    """Whether there is an NVIDIA driver: its tool is on PATH, or its device files exist."""
    return shutil.which("nvidia-smi", path=search_path) is not None or any(devices.glob("nvidia[0-9]*"))


def answers(url: str, timeout_seconds: float = CPU_INDEX_SECONDS) -> bool:
    """Whether a GET of `url` succeeds within the time, name look-up included."""
    succeeded = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=timeout_seconds):  # noqa: S310 - the caller's own https URL
                succeeded.set()
        except (OSError, ValueError):
            pass  # no answer

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout_seconds)
    return succeeded.is_set()


def announcement(machine: Machine) -> str:
    """What will be downloaded, how large it is, and why."""
    if machine.torch_from_cpu_index:
        which = "PyTorch without CUDA, as there is no NVIDIA GPU"
    elif machine.wants_cpu_build:
        which = "PyTorch with CUDA, though there is no NVIDIA GPU, as PyTorch's CPU index does not answer"
    else:
        which = "PyTorch with CUDA for the NVIDIA GPU" if machine.system == "Linux" else "PyTorch"
    upto = "up to " if machine.torch is TORCH_CUDA else "about "
    disk = machine.torch.disk_mb + OTHERS.disk_mb
    return (
        f"downloading {which} ({upto}{readable_size(machine.torch.download_mb)}) and the other packages"
        f" (about {readable_size(OTHERS.download_mb)}); .venv will take {upto}{readable_size(disk)}"
    )


def readable_size(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB".replace(".0", "") if megabytes >= 1000 else f"{megabytes:.0f} MB"


def require_venv_module(modules: Sequence[str] = VENV_MODULES) -> None:
    """Raise SetupFailed if this Python cannot make virtual environments: in Debian that is a separate package."""
    if all(importlib.util.find_spec(name) for name in modules):
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    debian = f"install it with `apt install python{version}-venv`" if shutil.which("apt") else "install it"
    raise SetupFailed(
        f"Python {version} ({sys.executable}) has no venv module: {debian}, or set PYTHON to another Python"
    )


def require_disk(folder: Path, needed_mb: int) -> None:
    """Raise SetupFailed if less is free."""
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < needed_mb:
        free, needed = readable_size(free_mb), readable_size(needed_mb)
        raise SetupFailed(
            f"the disk of {folder} has {free} free and .venv needs {needed}: free some, or use another disk"
        )
