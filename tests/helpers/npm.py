"""Files of packages of npm, for tests in a browser. Nothing of them is installed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest


def file_of_npm(package: str, path: str, folder: Path) -> Path:
    """The file at `path` in `package` (name@version), downloaded to `folder`. Skips the test, with its reason, where it
    cannot be had."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not installed, so {package} cannot be had")
    got = subprocess.run([npm, "pack", package], cwd=folder, capture_output=True, text=True, timeout=120)
    if got.returncode != 0:
        pytest.skip(f"npm does not give {package}: {got.stderr.strip()[-200:]}")
    with tarfile.open(folder / got.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / path
