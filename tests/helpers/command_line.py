"""Runs `longtake` as a user does, and finds processes and files that it left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.helpers.deadline import eventually

MARK = "LONGTAKE_PRESETS_DIR"
"""A variable that every process of a command inherits; tests give it a value of their own."""


class Running:
    """A `longtake` command in the background. Its output is in a file, as when a service manager runs it."""

    def __init__(self, arguments: list[str], presets_dir: Path, folder: Path, more: Mapping[str, str]) -> None:
        self.presets_dir = presets_dir
        self._output = folder / f"longtake_{arguments[0]}_{len(list(folder.glob('longtake_*')))}.txt"
        with self._output.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *arguments],
                cwd=folder,
                env={**os.environ, MARK: str(presets_dir), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder), **more},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for_line(self, beginning: str, seconds: float = 60) -> str:
        """The first line that begins so. Fails at once where the command ends before it says it."""

        def look() -> str | None:
            ended = self.process.poll() is not None
            found = next((line for line in self.output.splitlines() if line.startswith(beginning)), None)
            assert found or not ended, f"ended without saying {beginning!r}:\n{self.output}"
            return found

        return eventually(look, f"a line that begins with {beginning!r}", seconds=seconds)

    def wait(self, seconds: float = 120) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def left_behind(self) -> list[str]:
        """Command lines of processes that still run and came from this command or another of the same presets."""
        return [" ".join(command) for _, command in self._family()]

    def kill_everything(self) -> None:
        for process, _ in self._family():
            with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
                process.kill()
        self.process.wait()

    def _family(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        """Each process that still runs, and its command line, asked for here, lest it end between two looks."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.presets_dir) and process.status() != psutil.STATUS_ZOMBIE:
                    yield process, process.cmdline()
            except psutil.Error:
                continue  # ended meanwhile, or not ours to look at


@contextmanager
def running(arguments: list[str], presets_dir: Path, folder: Path, **more: str) -> Generator[Running]:
    """Start a command; whatever it leaves running at the end of the block is killed."""
    command = Running(arguments, presets_dir, folder, more)
    try:
        yield command
    finally:
        command.kill_everything()
