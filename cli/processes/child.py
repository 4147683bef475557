"""A child process with its log in a file: started, restarted, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from core.processes import end_with_parent
from core.service.domain.errors import SetupError


def capitalized(text: str) -> str:
    """The text with its first letter in upper case, for the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def last_line(log: Path, max_characters: int = 300) -> str:
    """The last line of a log that is not empty, shortened; of a traceback that is the error itself."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-max_characters:] if lines else "it wrote nothing"


class Child:
    """One process in its own session, so that a terminal's Ctrl-C reaches the parent only, which stops it in order.

    On Linux it gets SIGTERM when its parent is killed. Start it in the main thread: the kernel watches that thread.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """`name` is as sentences have it: "the API". Output is appended to `log`."""
        self.name = name
        self.log = log
        self._command, self._env = list(command), dict(env)
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as sink:
            return subprocess.Popen(  # noqa: S603 - our own modules, no shell
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ending(self) -> str | None:
        """How it ended: "signal 9", or "exit code 1" with its last line. None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"signal {-code}" if code < 0 else f"exit code {code}: {last_line(self.log)}"

    def check(self) -> None:
        """Raise SetupError with the child's last line if it has ended."""
        if (ending := self.ending()) is not None:
            raise SetupError(f"{self.name} ended with {ending}")

    def restart(self) -> None:
        """Start an ended child again, with the same command, environment and log; does nothing if it runs.

        Raises SetupError if it cannot be started.
        """
        if self._process.poll() is None:
            return
        _kill_group(self._process.pid)
        try:
            self._process = self._spawn()
        except OSError as error:
            raise SetupError(f"{self.name} cannot be started: {error.strerror}") from error

    def ask_to_stop(self) -> None:
        """Send SIGTERM if the child still runs."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait_stopped(self, grace_seconds: float) -> None:
        """Wait `grace_seconds` for the process to end, then kill what is left of its session."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_seconds)
        _kill_group(self._process.pid)
        self._process.wait()


def _kill_group(leader_pid: int) -> None:
    """Kill what is left of a process group; usually nothing."""
    # macOS answers EPERM for a group of zombies: there, too, nothing is left to kill.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal.SIGKILL)


def stop_all(children: Sequence[Child], grace_seconds: float) -> None:
    """Send SIGTERM to all, then wait for each. `grace_seconds` is for all of them together."""
    deadline = time.monotonic() + grace_seconds
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.wait_stopped(max(0.0, deadline - time.monotonic()))
