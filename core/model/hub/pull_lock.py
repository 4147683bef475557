"""A lock between processes that pull the same preset: one pulls, the others wait and find it installed."""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from core.model.convert.summary import Report
from core.service.domain.errors import SetupError

LOCK_POLL_SECONDS = 0.5


@contextmanager
def pull_lock(lock: Path, report: Report) -> Generator[None]:
    """Hold the lock within the block, however long it takes to get it; `report` is told of the wait.

    Raises SetupError if the folder of all weights cannot be created or written.
    """
    with _opened(lock) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report("another process pulls it", 0, 1)
                time.sleep(LOCK_POLL_SECONDS)
        yield


def _opened(lock: Path) -> TextIO:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock.open("w")
    except OSError as error:
        raise SetupError(
            f"the weights folder {lock.parent} cannot be used: {error.strerror}",
            fix="set LONGTAKE_WEIGHTS_DIR to a folder that you may write",
        ) from error
