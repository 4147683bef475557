"""Runs pip: its output goes to a log, the terminal gets a few lines of progress."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from setup.machine import readable_size
from setup.reasons import SetupFailed, explain

HEARTBEAT_SECONDS = 10.0
LARGE_MB = 5.0
"""Packages of this size get a line of their own while they are downloaded."""


@dataclass
class Progress:
    """Turns pip's output into a few lines: on a terminal one that changes, otherwise a line every HEARTBEAT_SECONDS."""

    stream: TextIO
    now: Callable[[], float] = time.monotonic
    doing: str = "asking for packages"
    percent: str = ""
    shown_at: float = field(default=0.0)
    began: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.shown_at = self.began = self.now()

    def feed(self, line: str) -> None:
        """Take one line of pip's output."""
        if match := re.match(r"\s*Downloading (\S+?)-\d\S* \(([\d.]+) ([kMG])B\)", line):
            self._begin_download(match[1], float(match[2]) * {"k": 0.001, "M": 1, "G": 1000}[match[3]])
        elif match := re.match(r"Progress (\d+) of (\d+)", line):
            self.percent = f" {100 * int(match[1]) // max(1, int(match[2]))} %"
        elif match := re.match(r"Installing collected packages: (.*)", line):
            self._say(f"installing {match[1].count(',') + 1} packages")
        self.beat()

    def _begin_download(self, package: str, megabytes: float) -> None:
        self.percent = ""
        size = f" ({readable_size(megabytes)})" if megabytes >= 1 else ""
        self.doing = f"downloading {package.replace('_', '-')}{size}"
        if megabytes >= LARGE_MB:
            self._say(self.doing)

    def _say(self, text: str) -> None:
        self.doing, self.percent, self.shown_at = text, "", self.now()
        self._write(f"   {text}\n")

    def beat(self) -> None:
        """Show progress; call every second or so."""
        if self.stream.isatty():
            self._write(f"   {self._state()}")
        elif self.now() - self.shown_at >= HEARTBEAT_SECONDS:
            self.shown_at = self.now()
            self._write(f"   {self._state()}\n")

    def _state(self) -> str:
        return f"{self.doing}{self.percent}, {self.now() - self.began:.0f} s so far"

    def _write(self, text: str) -> None:
        self.stream.write(f"\r\033[K{text}" if self.stream.isatty() else text)
        self.stream.flush()

    def end(self) -> None:
        """Remove the progress line from a terminal."""
        if self.stream.isatty():
            self._write("")


@dataclass(frozen=True)
class Pip:
    """The pip of a virtual environment. Its output is appended to `log`."""

    python: Path
    log: Path
    stream: TextIO = sys.stdout

    def install(self, *arguments: str) -> None:
        """pip install. Raises SetupFailed with one sentence."""
        bar = "raw" if self._version() >= (24, 1) else "off"
        command = [str(self.python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        output, code = self._watch([*command, "--progress-bar", bar, *arguments])
        if code != 0:
            sentence = "pip ran out of memory or was killed" if code < 0 else "pip failed"
            raise SetupFailed(f"{explain(output, sentence)} (pip's output: {self.log})")

    def _version(self) -> tuple[int, ...]:
        asked = subprocess.run(
            [str(self.python), "-m", "pip", "--version"], capture_output=True, text=True, check=False
        )
        return tuple(int(number) for number in re.findall(r"\d+", asked.stdout.partition(" from ")[0])[:2])

    def _watch(self, command: Sequence[str]) -> tuple[str, int]:
        """pip's output and exit code; progress is shown meanwhile."""
        progress, kept = Progress(self.stream), list[str]()
        with (
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            ) as process,
            self.log.open("a", encoding="utf-8") as log,
        ):
            log.write(f"$ {' '.join(command)}\n")
            try:
                for line in _lines(process, progress.beat):
                    progress.feed(line)
                    if not line.startswith("Progress "):
                        kept.append(line)
                        log.write(line)
                        log.flush()
            except BaseException:  # Ctrl-C, or a log that cannot be written: pip must not continue alone
                process.kill()
                process.wait()
                raise
        progress.end()
        return "".join(kept), process.returncode


def _lines(process: subprocess.Popen[str], idle: Callable[[], None]) -> Iterator[str]:
    """A process's lines as they come; `idle` is called every second without one."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=1.0)
        except queue.Empty:
            idle()
            continue
        if line is None:
            return
        yield line
