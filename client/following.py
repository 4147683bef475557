"""What a job looks like after each event of its stream. No I/O: the clients read events and jobs, and tell the time."""

from __future__ import annotations

import json
from dataclasses import dataclass

from client.errors import ApiError, ApiUnreachable, ClientError, LimitReached, ServiceUnavailable
from client.sse import ServerEvent
from core.service.domain.schema import EventType, Job, Lane

PROGRESS_EVENT = "job.progress"
REFRESH_SECONDS = 1.0
"""Progress events change only the step; the job is read this often for its other fields, such as the ETA."""
SILENCE_SECONDS = 5.0
"""A job that is shown is read after so long without an event: its place in the queue may have changed. A wait that may
end before the job looks at the time as often."""
MIN_SILENCE_SECONDS = 0.1
"""Of a wait that is to end soon."""


@dataclass
class Following:
    """A job that is followed. `read_at` is when it was last read (time.monotonic seconds). Without `shows_progress` it
    is read after logged events only."""

    job: Job
    read_at: float
    shows_progress: bool = True
    last_event_id: str = ""
    _streams_from: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether the status is terminal."""
        return self.job.status.is_terminal

    def apply(self, event: ServerEvent, now: float) -> bool:
        """Take the event into account. True if the job must be read again (then call `refresh`)."""
        self.last_event_id = event.id or self.last_event_id
        if event.type != PROGRESS_EVENT:
            return not _is_known(event, self.job)
        if self.shows_progress and now - self.read_at >= REFRESH_SECONDS:
            return True
        self.job = with_progress(self.job, event.data)
        return False

    def refresh(self, job: Job, now: float) -> None:
        """Replace the job by one just read."""
        self.job, self.read_at = job, now

    def may_stream(self, now: float) -> bool:
        """False while the API has asked to stay away from its event stream: then the job is polled only."""
        return now >= self._streams_from

    def lost(self, error: ClientError, now: float) -> None:
        """The event stream broke or was refused. Raises `error` if polling would not help."""
        if not isinstance(error, ApiUnreachable | LimitReached | ServiceUnavailable):
            raise error
        asked = error.retry_after_seconds if isinstance(error, ApiError) else None
        self._streams_from = now + (asked or 0.0)


def _is_known(event: ServerEvent, job: Job) -> bool:
    """Whether it is about a chunk that the job counts already: most of a log that is read from its start is."""
    done = {
        EventType.CHUNK_COMPLETED.value: job.progress.chunks_done,
        EventType.CHUNK_REFINED.value: job.progress.chunks_refined,
    }.get(event.type)
    if not done:
        return False
    index = event.json().get("data", {}).get("chunk", {}).get("index")
    return index is not None and index < done


def with_progress(job: Job, data: str) -> Job:
    """The job with the step of a progress event (JSON text), if that is about the chunk now being made on its lane."""
    event = json.loads(data)
    if event.get("lane") == Lane.REFINE:
        current, fields = job.progress.chunks_refined, {"refine_step": event["step"], "refine_steps": event["steps"]}
    else:
        current, fields = job.progress.chunks_done, {"step": event["step"], "steps": event["steps"]}
    if event["chunk_index"] != current:
        return job
    return job.model_copy(update={"progress": job.progress.model_copy(update=fields)})
