"""Whether anybody makes the jobs of a model: without that there is no forecast for those that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from api.backends.readiness import KEPT_SECONDS, WorkersSeen
from core.service.domain.ports import Pauses, WorkerRegistry
from core.service.domain.schema import Lane


class Serving:
    """What GET /jobs/{id} asks for each job in a queue. Reads workers and pauses once a second at most, however many
    ask."""

    def __init__(
        self, workers: WorkerRegistry, pauses: Pauses, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._workers, self._pauses, self._monotonic = workers, pauses, monotonic
        self._lock = threading.Lock()
        self._seen: WorkersSeen | None = None
        self._seen_at = 0.0

    def makes(self, model: str) -> bool:
        """Whether a worker that is not paused generates videos of this model, or will when it has loaded. Blocks for
        two round trips once a second. Raises StoreError."""
        seen = self._now()
        return any(
            (worker.is_ready or worker.state == "starting")
            and worker.serves(Lane.GENERATE, model)
            and not seen.is_paused(worker)
            for worker in seen.workers
        )

    def _now(self) -> WorkersSeen:
        with self._lock:
            if self._seen is None or self._monotonic() - self._seen_at > KEPT_SECONDS:
                self._seen = WorkersSeen(self._workers.all(), self._pauses.all())
                self._seen_at = self._monotonic()
            return self._seen
