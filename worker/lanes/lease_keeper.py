"""Renews a lease in a thread while a worker holds it, and notices when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from core.service.domain.errors import Interrupted, StoreError
from core.service.domain.ports import JobStore, Lease
from core.service.domain.schema import JobRecord
from core.service.logs import working_on
from core.service.request_ids import working_for

logger = logging.getLogger(__name__)

RENEWALS_PER_TTL = 3


class LeaseKeeper:
    """Context manager: renews `lease` RENEWALS_PER_TTL times per ttl; `lost` is set when it cannot be renewed: another
    worker holds it, the job is deleted, or its own worker has released it and goes on with what comes after.

    An outage of the store does not lose the lease: no other worker can claim it then, and the fencing token decides
    when the store is back.
    """

    def __init__(
        self, store: JobStore, lease: Lease, ttl_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.lost = threading.Event()
        self.job_id = lease.job_id
        self.request_id: str | None = None
        """For its log lines; known once the record is read."""
        self.lease = lease
        """The newest one: a worker that keeps the lane for its next piece has another then."""
        self._store = store
        self._ttl = ttl_seconds
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._lock = threading.Lock()  # the lease changes with a commit, in the midst of which a renewal would fail
        self._reason = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease-{lease.job_id}", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raises Interrupted if the lease is lost."""
        if self.lost.is_set():
            raise Interrupted(f"the lease was lost: {self._reason}")

    @property
    def held_seconds(self) -> float:
        """Since the lane was claimed; keeping it does not count as a claim."""
        return self._monotonic() - self._began_at

    def committing(self, commit: Callable[[], JobRecord]) -> JobRecord:
        """One attempt to `commit`, which may keep the lane: then go on with its new lease. No renewal meanwhile.

        If its answer is lost, the lease before renews and releases the lane that was kept."""
        with self._lock:
            committed = commit()
            state = committed.lane(self.lease.lane)
            if state.held:
                self.lease = replace(self.lease, token=state.token, poison=False)
            return committed

    def _run(self) -> None:
        while not self._stop.wait(self._ttl / RENEWALS_PER_TTL):
            try:
                if not self._renew():
                    return self._give_up("another worker holds it, or the job is deleted")
            except StoreError as error:
                with working_for(self.request_id), working_on(self.job_id):
                    logger.warning("cannot renew the lease on %s: %s", self.job_id, error)

    def _renew(self) -> bool:
        with self._lock:
            return self._store.renew(self.lease, self._ttl)

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        self.lost.set()
