"""Child processes: their last words, their end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from cli.child import Child, last_words, stop_all
from core.service.errors import SetupError
from tests.helpers.deadline import eventually

IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)


def start(tmp_path: Path, script: str) -> Child:
    return Child("worker", [sys.executable, "-u", "-c", script], os.environ, tmp_path / "worker.log")


def ended(child: Child) -> bool:
    try:
        child.check()
    except SetupError:
        return True
    return False


def test_a_dead_child_is_named_with_its_last_words(tmp_path: Path) -> None:
    child = start(tmp_path, "raise SystemExit('the weights are missing')")
    eventually(lambda: ended(child), "the child's end", seconds=10)
    with pytest.raises(SetupError, match="the worker ended with exit code 1: the weights are missing"):
        child.check()


def test_a_running_child_is_no_error_and_ends_on_request(tmp_path: Path) -> None:
    child = start(tmp_path, "import time; time.sleep(60)")
    child.check()
    stop_all([child], grace_seconds=10)
    assert not psutil.pid_exists(child.pid)


def test_a_child_that_will_not_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    child = start(tmp_path, IGNORES_SIGTERM)
    eventually(lambda: last_words(child.log) == "up", "the child to be up", seconds=10)
    stop_all([child], grace_seconds=0.2)
    assert not psutil.pid_exists(child.pid)


def test_a_silent_child_is_said_to_be_silent(tmp_path: Path) -> None:
    assert last_words(tmp_path / "none.log") == "it wrote nothing"
