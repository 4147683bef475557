"""A program of ours in a process of its own: it gets a message and no secrets, and ends with the block that runs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.runtime.environment import without_secrets

_LOGGED_BYTES = 500


@contextmanager
def running(
    command: Sequence[str], message: bytes, *, stdout: Path = Path(os.devnull), stderr: Path
) -> Generator[subprocess.Popen[bytes]]:
    """The running process, whose stdin is `message`; killed at the end of the block. Its output goes to files: a pipe
    that nobody reads would stop it."""
    with (
        stdout.open("wb") as output,
        stderr.open("wb") as errors,
        subprocess.Popen(  # noqa: S603 - ours
            command, stdin=subprocess.PIPE, stdout=output, stderr=errors, env=without_secrets(os.environ)
        ) as process,
    ):
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(message)
                process.stdin.close()
            yield process
        finally:
            process.kill()


def last_words(stderr: Path) -> str:
    """The end of what it wrote to stderr, for a log."""
    return stderr.read_bytes()[-_LOGGED_BYTES:].decode(errors="replace").strip()
