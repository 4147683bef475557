"""Jobs: makes and finds jobs."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Unpack

from client.calls import jobs as calls
from client.calls.jobs import JobFields, Seen, asked_for
from client.models import BatchResult
from client.options import JobOptions
from client.sync.connection import Connection
from client.sync.job import Job
from core.service.domain.schema import JobList, JobPlan, JobStatus

PAGE_JOBS = 100


class Jobs:
    """`client.jobs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        request: JobFields | None = None,
        *,
        job_id: str | None = None,
        idempotency_key: str | None = None,
        wait_seconds: int = 0,
        **fields: Unpack[JobOptions],
    ) -> Job:
        """A new job, from keyword arguments or a `request`. Fields left out take the model's defaults.

        The call is repeated after lost connections and makes one job all the same: it has an `idempotency_key` of its
        own, or yours, which gives the same job for 24 hours, also to another process. `job_id` is an id of your own
        instead; it raises Conflict if another request has it. With `wait_seconds` the API answers when the job has
        ended, or after so long.
        """
        body = asked_for(request, fields)
        if job_id is not None:
            call = calls.put(job_id, body, wait_seconds)
        else:
            call = calls.create(body, idempotency_key or str(uuid.uuid4()), wait_seconds)
        return self._job(Seen(self._connection.send(call)))

    def plan(self, request: JobFields | None = None, **fields: Unpack[JobOptions]) -> JobPlan:
        """What the job would be and how long it would take. Nothing is created."""
        return self._connection.send(calls.plan(asked_for(request, fields)))

    def batch(self, requests: Iterable[JobFields], *, idempotency_key: str | None = None) -> tuple[BatchResult, ...]:
        """Up to 100 jobs; what became of each, in order."""
        return self._connection.send(calls.batch(requests, idempotency_key or str(uuid.uuid4())))

    def get(self, job_id: str) -> Job:
        """The job with this id. Raises NotFound."""
        return self._job(self._connection.send(calls.get(job_id)))

    def list(self, status: JobStatus | str | None = None, *, owner: str | None = None) -> Iterator[Job]:
        """All jobs, newest first, read page by page. `owner`: of one key, for the operator."""
        cursor: str | None = None
        while True:
            page = self.page(status, PAGE_JOBS, cursor, owner=owner)
            yield from (self._job(Seen(job)) for job in calls.jobs_of(page))
            if (cursor := page.next_cursor) is None:
                return

    def page(
        self,
        status: JobStatus | str | None = None,
        limit: int = 20,
        cursor: str | None = None,
        *,
        owner: str | None = None,
    ) -> JobList:
        """One page of jobs, newest first, 1 to 100. Pass `next_cursor` of a page for the page after it."""
        return self._connection.send(calls.page(status, limit, cursor, owner))

    def _job(self, seen: Seen) -> Job:
        return Job(self._connection, seen)
