"""Temporary folders that name the process they belong to, so that what a killed one left can be told and removed."""

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
    """A folder that is removed when the context ends. In TMPDIR."""
    return tempfile.TemporaryDirectory(prefix=f"longtake-{os.getpid()}-")


def remove_left_behind() -> int:
    """Remove the folders of processes that are gone; how many there were."""
    left = [path for path in Path(tempfile.gettempdir()).glob("longtake-*") if _owner_is_gone(path.name)]
    for path in left:
        logger.info("removing %s, which a killed process has left", path)
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


def _owner_is_gone(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and not psutil.pid_exists(int(match[1]))
