"""A server as a child process: started until it answers, restarted on its port, stopped."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from cli.processes.child import Child, capitalized, last_line
from cli.processes.machine import LOOPBACK, accepts_connections, bind_error, free_port, prepare_folder
from core.service.domain.errors import SetupError

START_SECONDS = 60.0
STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05
_PORT_TRIES = 3


class EmbeddedServer(ABC):
    """Base of the embedded servers. Use as a context manager, or `start` and `stop`.

    Listens on loopback only, keeps data and log in one folder, and ends with this process.
    """

    name: str
    """As sentences have it: "Redis", "the S3 server"."""
    log_name: str

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        """`port` None: a free port, chosen at each start."""
        self._data_dir = data_dir
        self._fixed_port = port
        self._port = port or 0
        self._child: Child | None = None

    @abstractmethod
    def _command(self, port: int) -> Sequence[str]: ...

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _answers(self, port: int) -> bool:
        """Whether a server on this port answers requests."""
        return accepts_connections(port)

    def start(self) -> Self:
        """Return once requests are answered. If its free port was taken meanwhile, tries another. Raises SetupError."""
        log = prepare_folder(self._data_dir) / self.log_name
        for _ in range(_PORT_TRIES):
            self._port = self._fixed_port or free_port()
            self._refuse_taken_port()
            self._child = Child(self.name, self._command(self._port), self._environment(), log)
            if self._wait(self._child):
                return self
            self.stop()
            if not accepts_connections(self._port):  # so the port was not the reason
                break
        raise SetupError(f"{capitalized(self.name)} did not start: {last_line(log)} (log: {log})")

    def _wait(self, child: Child) -> bool:
        """False if the process ends before it answers, or takes longer than START_SECONDS."""
        deadline = time.monotonic() + START_SECONDS
        while child.ending() is None and time.monotonic() < deadline:
            if self._answers(self._port):
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def restart(self) -> None:
        """Start an ended process again: same port, keys, folder. Does not wait until it answers. Raises SetupError."""
        if self._started.ending() is None:
            return
        self._refuse_taken_port()
        self._started.restart()

    def ending(self) -> str | None:
        """How the process ended ("signal 9", "exit code 1: last line of its log"); None while it runs."""
        return self._child.ending() if self._child is not None else None

    def answers(self) -> bool:
        """Whether it answers requests now."""
        return self._answers(self.port)

    def stop(self) -> None:
        """Ask the process to end, then kill it. Idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.ask_to_stop()
            child.wait_stopped(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def port(self) -> int:
        assert self._port, f"{self.name} was not started"
        return self._port

    @property
    def _started(self) -> Child:
        assert self._child is not None, f"{self.name} was not started"
        return self._child

    def _refuse_taken_port(self) -> None:
        if (reason := bind_error(LOOPBACK, self._port)) is not None:
            raise SetupError(f"Port {self._port} for {self.name} cannot be used: {reason}.")
