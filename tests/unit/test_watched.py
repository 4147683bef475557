"""A test run fails if it leaves something open, even if that shows only when a process ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LEAVES_OPEN = """
import socket

KEPT = []

def test_it():
    KEPT.append(socket.socket())
"""
CLOSES = """
import socket

def test_it():
    socket.socket().close()
"""


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize(("script", "code"), [(LEAVES_OPEN, 1), (CLOSES, 0)], ids=["leaves-open", "closes"])
def test_what_is_left_open_fails_a_run_that_passed(
    script: str, code: int, processes: str, tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "test_it.py").write_text(script)
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    options = ["-q", *plugins, "-n", processes, "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "tests.watched", *options, str(tmp_path)]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert "1 passed" in ended.stdout
    assert ended.returncode == code, ended.stderr
