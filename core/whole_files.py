"""Files that are there whole or not at all, so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from pathlib import Path

UNFINISHED_SUFFIX = ".part"
_ABANDONED_AFTER_SECONDS = 3600.0
"""An unfinished file that nobody has written to for so long was left by a process that was killed."""


@contextlib.contextmanager
def unfinished(path: Path) -> Generator[Path]:
    """Where to write the file `path`: renamed at the end of the block, removed if it fails. Makes its folder.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED_SUFFIX}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Raises OSError."""
    with unfinished(path) as part:
        part.write_bytes(content)


def remove_abandoned(folder: Path) -> None:
    """What killed processes left half written directly in the folder. Raises OSError."""
    for part in folder.glob(f"*.*{UNFINISHED_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                part.unlink()
