"""What a job looks like after each event of its stream. No I/O: the clients read events and jobs, and tell the time."""

from __future__ import annotations

import json
from dataclasses import dataclass

from client.sse import ServerEvent
from core.service.domain.schema import Job, Lane

PROGRESS_EVENT = "job.progress"
REFRESH_SECONDS = 1.0
"""Progress events change only the step; the job is read this often for its other fields, such as the ETA."""


@dataclass
class Following:
    """A job that is followed. `read_at` is when it was last read (time.monotonic seconds)."""

    job: Job
    read_at: float
    last_event_id: str = ""

    @property
    def has_ended(self) -> bool:
        return self.job.status.is_terminal

    def apply(self, event: ServerEvent, now: float) -> bool:
        """Take the event into account. True if the job must be read again (then call `refresh`)."""
        self.last_event_id = event.id or self.last_event_id
        if event.type != PROGRESS_EVENT or now - self.read_at >= REFRESH_SECONDS:
            return True
        self.job = with_progress(self.job, event.data)
        return False

    def refresh(self, job: Job, now: float) -> None:
        """Replace the job by one just read."""
        self.job, self.read_at = job, now


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
