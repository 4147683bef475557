"""Builds .venv for `make setup`, `make demo` and `make test`: says what it downloads and how large it is, shows that it
goes on, and fails in one sentence that names the package and the mend. pip's own words go to .venv/setup.log.

    python -m setup.environment        in the repository's root

Knows nothing of Longtake but pyproject.toml.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever calls it with an older Python is told so
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
    look_at_machine,
    require_disk,
    require_venv_module,
)
from setup.pip import Pip
from setup.reasons import SetupFailed, explain

EXTRAS = ("model", "dev")


def make_venv(folder: Path) -> None:
    """Make `folder` a virtual environment of this Python. One of another Python is replaced. Raises SetupFailed."""
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
        facts = (folder / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    version = re.search(r"(?m)^version\s*=\s*(\d+)\.(\d+)", facts)
    return version is None or (int(version[1]), int(version[2])) != sys.version_info[:2]


def torch_requirement(project: Path) -> str:
    """The one line of pyproject.toml about torch."""
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    return next(line for line in extras["model"] if re.match(r"torch\b", line))


def build(root: Path, machine: Machine, stream: TextIO = sys.stdout) -> None:
    """The whole set-up of a checkout. Raises SetupFailed."""
    folder = root / ".venv"
    make_venv(folder)
    log = folder / "setup.log"
    log.write_text("")
    pip = Pip(folder / "bin" / "python", log, stream)
    if machine.torch_from_cpu_index:
        install_cpu_torch(pip, torch_requirement(root / "pyproject.toml"), CPU_INDEX, stream)
    pip.install("-e", f"{root}[{','.join(EXTRAS)}]")


def install_cpu_torch(pip: Pip, requirement: str, index: str, stream: TextIO) -> None:
    """Without what it depends on: that comes with the rest. Where the index has no build for here, PyPI's is taken."""
    try:
        pip.install("--no-deps", "--index-url", index, requirement)
    except SetupFailed as failed:
        stream.write(f"== setup: PyTorch's CPU index did not do ({failed}); going on with PyPI\n")


def main() -> int:
    """Exit code 0, 1 after one sentence on stderr, 130 after Ctrl-C."""
    root, began = Path.cwd(), time.monotonic()
    try:
        _set_up(root)
    except SetupFailed as failed:
        print(f"Longtake's set-up stopped: {failed}.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Longtake's set-up stopped: {error.filename or root}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nLongtake's set-up was stopped; the next one goes on from here.", file=sys.stderr)
        return 130
    print(f"== setup: done in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _set_up(root: Path) -> None:
    print(f"== setup: building .venv with Python {platform.python_version()} ({sys.executable})", flush=True)
    require_venv_module()
    is_new = not (root / ".venv" / "bin").exists()
    if is_new:
        require_disk(root, TORCH_CPU.disk_mb + OTHERS.disk_mb)
    machine = look_at_machine()
    print(f"== setup: {announcement(machine) if is_new else 'downloading what .venv lacks'}", flush=True)
    build(root, machine)


if __name__ == "__main__":
    sys.exit(main())
