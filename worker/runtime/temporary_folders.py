"""Temporary folders named after their process, so that those of a killed process can be found and removed."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

_NAME = re.compile(r"longtake-(\d+)-\w+")


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder in TMPDIR that is removed when the context ends."""
    return tempfile.TemporaryDirectory(prefix=f"longtake-{os.getpid()}-")


def remove_left_behind() -> int:
    """Remove the folders of processes that no longer exist; returns how many."""
    left = [path for path in Path(tempfile.gettempdir()).glob("longtake-*") if _owner_is_gone(path.name)]
    for path in left:
        logger.info("removing %s of a killed process", path)
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


def _owner_is_gone(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and not psutil.pid_exists(int(match[1]))
