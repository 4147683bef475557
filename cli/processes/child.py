"""A child process with its log in a file: started, watched, started again, stopped in order.

Knows nothing of what the child does.
"""

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


def last_words(log: Path, max_characters: int = 300) -> str:
    """The last line of a log that says something, shortened; for a traceback that is the error itself."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-max_characters:] if lines else "it wrote nothing"


class Child:
    """One process in a session of its own, so that a terminal's Ctrl-C does not reach it before its parent says so.

    On Linux it also gets SIGTERM when its parent is killed. Make it in the main thread: the kernel watches the thread.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """`name` is for sentences: "the API"."""
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
        """How it ended: "signal 9", or "exit code 1" with its last words. None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"signal {-code}" if code < 0 else f"exit code {code}: {last_words(self.log)}"

    def check(self) -> None:
        """Raise SetupError with the child's last words where it has ended."""
        if (ending := self.ending()) is not None:
            raise SetupError(f"{self.name} ended with {ending}")

    def restart(self) -> None:
        """Start an ended child again, with the same command, environment and log; nothing is done where it runs.

        Raises SetupError where that cannot be done now.
        """
        if self._process.poll() is None:
            return
        _kill_group(self._process.pid)
        try:
            self._process = self._spawn()
        except OSError as error:
            raise SetupError(f"{self.name} cannot be started: {error.strerror}") from error

    def ask_to_stop(self) -> None:
        """Send SIGTERM, where the child still runs."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait_stopped(self, grace_seconds: float) -> None:
        """Wait for the end that was asked for; after the grace everything left of its session is killed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_seconds)
        _kill_group(self._process.pid)
        self._process.wait()


def _kill_group(leader_pid: int) -> None:
    """Kill what is left of a process group. A child that ended in order leaves nothing and this does nothing."""
    # macOS answers EPERM for a group of zombies: there, too, nothing is left to kill.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal.SIGKILL)


def stop_all(children: Sequence[Child], grace_seconds: float) -> None:
    """Ask all at once, then wait for each; the grace is for all of them together."""
    deadline = time.monotonic() + grace_seconds
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.wait_stopped(max(0.0, deadline - time.monotonic()))
