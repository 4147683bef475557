"""Patience with the object store: an outage shorter than a minute costs waiting, not work. Knows no job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from core.service.errors import ObjectNotFound, StorageError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0

T = TypeVar("T")


def patiently(action: Callable[[], T], pause: Callable[[float], None], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """Repeat `action` while it raises StorageError, for `patience_seconds`; `pause` waits and may raise to give up.

    A missing object is an answer, not an outage: ObjectNotFound passes at once.
    """
    give_up_at = time.monotonic() + patience_seconds
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except ObjectNotFound:
            raise
        except StorageError as error:
            if time.monotonic() + pause_seconds > give_up_at:
                raise
            logger.warning("the object store failed, trying again in %.1f s: %s", pause_seconds, error)
        pause(pause_seconds)
        pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
