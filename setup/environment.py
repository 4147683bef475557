"""Builds .venv for `make setup`, `make demo` and `make test`: prints what it downloads and how large it is, shows
progress, and fails with one sentence that names the package and the fix. pip's output goes to .venv/setup.log.

    python -m setup.environment        in the repository's root
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - callers with an older Python get this message
    sys.exit(f"Longtake needs Python 3.11 or newer; {sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}.")

import platform
import re
import subprocess
import time
import tomllib
from pathlib import Path
from typing import TextIO

from setup.machine import (
    CPU_INDEX,
    OTHERS,
    TORCH_CPU,
    Machine,
    announcement,
    detect_machine,
    require_disk,
    require_venv_module,
)
from setup.pip import Pip
from setup.reasons import SetupFailed, explain

EXTRAS = ("model", "dev")


def make_venv(folder: Path) -> None:
    """Make `folder` a virtual environment of this Python; one of another version is replaced. Raises SetupFailed."""
    fresh = ["--clear"] if _is_of_another_python(folder) else []
    made = subprocess.run(
        [sys.executable, "-m", "venv", *fresh, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise SetupFailed(explain(made.stdout, f"python -m venv {folder} failed"))


def _is_of_another_python(folder: Path) -> bool:
    try:
        config = (folder / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    version = re.search(r"(?m)^version\s*=\s*(\d+)\.(\d+)", config)
    return version is None or (int(version[1]), int(version[2])) != sys.version_info[:2]


def torch_requirement(project: Path) -> str:
    """The requirement of torch in pyproject.toml."""
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    return next(line for line in extras["model"] if re.match(r"torch\b", line))


def build(root: Path, machine: Machine, stream: TextIO = sys.stdout) -> None:
    """Make .venv and install everything into it. Raises SetupFailed."""
    folder = root / ".venv"
    make_venv(folder)
    log = folder / "setup.log"
    log.write_text("")
    pip = Pip(folder / "bin" / "python", log, stream)
    if machine.torch_from_cpu_index:
        install_cpu_torch(pip, torch_requirement(root / "pyproject.toml"), CPU_INDEX, stream)
    pip.install("-e", f"{root}[{','.join(EXTRAS)}]")


def install_cpu_torch(pip: Pip, requirement: str, index: str, stream: TextIO) -> None:
    """Without its dependencies, which come with the rest. If the index has no build for here, PyPI's is used."""
    try:
        pip.install("--no-deps", "--index-url", index, requirement)
    except SetupFailed as failed:
        stream.write(f"== setup: PyTorch's CPU index failed ({failed}); continuing with PyPI\n")


def main() -> int:
    """Exit code 0, 1 after one sentence on stderr, 130 after Ctrl-C."""
    root, began = Path.cwd(), time.monotonic()
    try:
        _set_up(root)
    except SetupFailed as failed:
        print(f"Longtake's setup failed: {failed}.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Longtake's setup failed: {error.filename or root}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nLongtake's setup was stopped; the next run continues from here.", file=sys.stderr)
        return 130
    print(f"== setup: done in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _set_up(root: Path) -> None:
    print(f"== setup: building .venv with Python {platform.python_version()} ({sys.executable})", flush=True)
    require_venv_module()
    is_new = not (root / ".venv" / "bin").exists()
    if is_new:
        require_disk(root, TORCH_CPU.disk_mb + OTHERS.disk_mb)
    machine = detect_machine()
    print(f"== setup: {announcement(machine) if is_new else 'downloading what .venv lacks'}", flush=True)
    build(root, machine)


if __name__ == "__main__":
    sys.exit(main())
