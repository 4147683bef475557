"""A lane's calls to the store and the object store: retried while a server fails, given up with the lease.

Every wait ends when the lease is lost or the process drains and, unless the lane runs for
cancelled jobs too, when the job is cancelled or deleted.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeVar

from core.service.domain.errors import Interrupted, ObjectNotFound, StoreError
from worker import metrics
from worker.lanes.lease_keeper import LeaseKeeper
from worker.runtime.server_retry import Pause, ServerCall, with_retries
from worker.runtime.services import Activity, NoActivity, Services

logger = logging.getLogger(__name__)

STATE_TYPE = "application/octet-stream"
CANCEL_CHECK_SECONDS = 1.0
"""Time between two checks for a cancel outside of denoising steps."""

PUT_GRACE_SECONDS = 5.0
"""How long puts in progress may go on after the process was told to stop, so that finished work is committed. Far below
worker.supervisor.STOP_SECONDS, and below the stop grace of containers."""

T = TypeVar("T")


@dataclass(frozen=True)
class NewObject:
    """An object to be stored."""

    key: str
    data: bytes
    content_type: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class ServerAccess:
    """Base class of lanes. Methods that take a keeper raise Interrupted when the work must stop."""

    stops_on_cancel: ClassVar[bool] = True

    def __init__(self, services: Services, activity: Activity | None = None) -> None:
        self._services = services
        self._activity = activity or NoActivity()

    def _check_stop(self, keeper: LeaseKeeper) -> None:
        """Raises Interrupted if the lease is lost or the process drains. Cheap: asks no server."""
        keeper.check()
        if self._services.drain.is_set():
            raise Interrupted(f"{self._services.worker} is stopping")

    def _check_cancel(self, job_id: str) -> None:
        """Raises Interrupted if the job was cancelled, JobNotFound if it was deleted. A failing store is ignored."""
        if not self.stops_on_cancel:
            return
        with ignore_store_errors(job_id):
            if self._services.store.cancel_requested(job_id):
                raise Interrupted(f"{job_id} was canceled")

    def _check_often(self, keeper: LeaseKeeper, drain_grace: float = 0.0) -> Callable[[], None]:
        """A check to call many times a second: it asks the store only every CANCEL_CHECK_SECONDS. It notices a drain
        `drain_grace` seconds late."""
        asked_at, drained_at = time.monotonic(), math.inf

        def check() -> None:
            nonlocal asked_at, drained_at
            keeper.check()
            if self._services.drain.is_set():
                drained_at = min(drained_at, time.monotonic())
                if time.monotonic() - drained_at >= drain_grace:
                    self._check_stop(keeper)
            if time.monotonic() - asked_at >= CANCEL_CHECK_SECONDS:
                asked_at = time.monotonic()
                self._check_cancel(keeper.job_id)

        return check

    def _pause(self, keeper: LeaseKeeper) -> Pause:
        """The pause between two attempts of a server call."""

        def pause(seconds: float, reason: str) -> None:
            self._activity.waiting(reason)
            self._services.drain.wait(seconds)
            self._check_stop(keeper)
            self._check_cancel(keeper.job_id)

        return pause

    def _with_retries(self, action: Callable[[], T], keeper: LeaseKeeper) -> T:
        """A call of the store, which has timeouts of its own."""
        return with_retries(action, self._pause(keeper))

    def _call(self, action: Callable[[], T], keeper: LeaseKeeper) -> ServerCall[T]:
        """A call of the object store, which may hang."""
        return ServerCall(lambda: with_retries(action, self._pause(keeper)))

    def _get(self, key: str, keeper: LeaseKeeper) -> bytes:
        """Raises ObjectNotFound."""
        return self._call(lambda: self._services.storage.get(key), keeper).result(self._check_often(keeper))

    def _get_checked(self, key: str, sha256: str | None, keeper: LeaseKeeper) -> bytes | None:
        """The object, or None if it is missing or its checksum differs. Older versions stored no checksum (None)."""
        try:
            data = self._get(key, keeper)
        except ObjectNotFound:
            logger.warning("%s is missing", key)
            return None
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            logger.warning("%s is damaged", key)
            return None
        return data

    def _put(self, objects: Sequence[NewObject], keeper: LeaseKeeper) -> None:
        """Store all objects in parallel; returns when all are stored. A drain gives those in progress some seconds."""
        put = self._services.storage.put
        calls = [self._call(partial(put, new.key, new.data, new.content_type), keeper) for new in objects]
        check = self._check_often(keeper, PUT_GRACE_SECONDS)
        for new, call in zip(objects, calls, strict=True):
            call.result(check)
            metrics.bytes_stored(len(new.data))


@contextmanager
def ignore_store_errors(job_id: str) -> Generator[None]:
    """An outage of the store does not interrupt the work: the fencing token decides at the commit."""
    try:
        yield
    except StoreError as error:
        logger.warning("%s: the store does not answer: %s", job_id, error)
