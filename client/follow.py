"""Follow a job until it ends: its event stream where that works, polling where it does not.

Knows the API's client; does not print. Times come from the clock that is passed in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from client.client import ApiUnreachable, Client
from core.service.domain.schema import Job, Lane

PROGRESS_EVENT = "job.progress"
POLL_SECONDS = 0.5
REFRESH_SECONDS = 1.0
"""Between two logged events the job is read again this often, for its ETA."""


def follow(
    client: Client,
    job_id: str,
    *,
    check: Callable[[], None] = lambda: None,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Job]:
    """Yield the job whenever something changed, last when it is terminal. `check` may raise to give up."""
    position = _Position()
    job = client.job(job_id)
    yield job
    while not job.status.is_terminal:
        check()
        try:
            for update in _stream(client, job, position, now):
                check()
                job = update
                yield job
        except ApiUnreachable:
            # The stream broke or was silent: what follows looks at the job, and tells if the API is gone.
            sleep(POLL_SECONDS)
        if not job.status.is_terminal:
            sleep(POLL_SECONDS)
            job = client.job(job_id)
            yield job


@dataclass
class _Position:
    """The last event seen: where the next stream resumes."""

    after: str = ""


def _stream(client: Client, job: Job, position: _Position, now: Callable[[], float]) -> Iterator[Job]:
    """The job after each event of one stream; moves `position` along."""
    read_at = now()
    for event in client.events(job.id, position.after):
        position.after = event.id or position.after
        if event.type == PROGRESS_EVENT and now() - read_at < REFRESH_SECONDS:
            job = with_progress(job, event.data)
        else:
            job, read_at = client.job(job.id), now()
        yield job
        if job.status.is_terminal:
            return


def with_progress(job: Job, data: str) -> Job:
    """The job with a progress event's step put into its progress, where it is of the chunk now in work on that lane."""
    told = json.loads(data)
    if told.get("lane") == Lane.REFINE:
        current, fields = job.progress.chunks_refined, {"refine_step": told["step"], "refine_steps": told["steps"]}
    else:
        current, fields = job.progress.chunks_done, {"step": told["step"], "steps": told["steps"]}
    if told["chunk_index"] != current:
        return job
    return job.model_copy(update={"progress": job.progress.model_copy(update=fields)})
