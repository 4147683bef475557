"""Writes into a job's record how many of its webhooks have ended, so that a rebuilt Redis does not send them again."""

from __future__ import annotations

import asyncio
import logging

from core.service.domain.errors import JobNotFound, StoreError
from core.service.domain.ports import JobStore
from worker.webhooks.store_calls import StoreCalls

logger = logging.getLogger(__name__)


class EndedNotes:
    """The record of a long job is large: while one number is being written, only the newest of later ones waits."""

    def __init__(self, store: JobStore, calls: StoreCalls) -> None:
        self._store = store
        self._calls = calls
        self.tasks: set[asyncio.Task[None]] = set()
        self._num_ended: dict[str, int] = {}
        """By job id, of the jobs that are being written."""

    def note(self, job_id: str, num_ended: int) -> None:
        """Write soon that the first `num_ended` webhooks of the job have ended."""
        is_being_written = job_id in self._num_ended
        self._num_ended[job_id] = num_ended
        if not is_being_written:
            task = asyncio.create_task(self._write(job_id))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _write(self, job_id: str) -> None:
        written = -1
        try:
            while (num_ended := self._num_ended[job_id]) > written:
                await self._calls.retried(lambda num_ended=num_ended: self._store.end_webhooks(job_id, num_ended))
                written = num_ended
        except (JobNotFound, StoreError) as error:
            logger.info("%s: ended webhooks are not noted: %s", job_id, error.message)
        finally:
            del self._num_ended[job_id]
