"""Child processes: their last line, their end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from cli.processes.child import Child, last_line, stop_all
from core.service.domain.errors import SetupError
from tests.helpers.deadline import eventually

IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)


def start(tmp_path: Path, script: str) -> Child:
    return Child("the worker", [sys.executable, "-u", "-c", script], os.environ, tmp_path / "worker.log")


def ended(child: Child) -> bool:
    try:
        child.check()
    except SetupError:
        return True
    return False


def test_a_dead_child_is_named_with_its_last_line(tmp_path: Path) -> None:
    child = start(tmp_path, "raise SystemExit('the weights are missing')")
    eventually(lambda: ended(child), "the child's end")
    with pytest.raises(SetupError, match="the worker ended with exit code 1: the weights are missing"):
        child.check()


def test_an_ended_child_is_started_again_with_the_same_command_and_log(tmp_path: Path) -> None:
    child = start(tmp_path, "import os, sys; print(os.getpid(), flush=True); sys.stdin.read(); os.kill(os.getpid(), 9)")
    eventually(child.ending, "the first end")
    first = child.pid
    assert child.ending() == "signal 9"

    child.restart()
    eventually(child.ending, "the second end")

    assert child.log.read_text().split() == [str(first), str(child.pid)]


def test_a_child_that_runs_is_not_started_twice(tmp_path: Path) -> None:
    child = start(tmp_path, "import time; time.sleep(60)")
    pid = child.pid

    child.restart()

    assert (child.pid, child.ending()) == (pid, None)
    stop_all([child], grace_seconds=60)


def test_what_an_ended_child_left_in_its_session_is_killed_before_it_is_started_again(tmp_path: Path) -> None:
    """Two servers on one port, or two workers on one GPU, would be in each other's way."""
    sleeper = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    child = start(tmp_path, f"{sleeper}; print(p.pid, flush=True); raise SystemExit(3)")
    eventually(child.ending, "its end")
    left = psutil.Process(int(child.log.read_text().split()[0]))
    assert left.is_running()

    child.restart()

    eventually(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE, "what was left to end")
    stop_all([child], grace_seconds=60)


def test_a_running_child_is_no_error_and_ends_on_request(tmp_path: Path) -> None:
    child = start(tmp_path, "import time; time.sleep(60)")
    child.check()
    stop_all([child], grace_seconds=60)
    assert not psutil.pid_exists(child.pid)


def test_a_child_that_will_not_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    child = start(tmp_path, IGNORES_SIGTERM)
    eventually(lambda: last_line(child.log) == "up", "the child to be up")
    stop_all([child], grace_seconds=0.2)
    assert not psutil.pid_exists(child.pid)


def test_a_silent_child_is_said_to_be_silent(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none.log") == "it wrote nothing"
