"""What a job's handle shows of the job: the data of the last answer about it."""

from __future__ import annotations

from datetime import datetime

import core.service.domain.schema as schema
from client.calls.jobs import Seen


class JobAttributes:
    """`data` is the whole last answer; the other attributes are its fields. Nothing is read here: `refresh`, `wait`,
    `follow` and `chunks` bring newer data."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status}>"

    @property
    def data(self) -> schema.Job:
        """The whole last answer about the job."""
        return self._seen.job

    @property
    def id(self) -> str:
        """The id of the job, which never changes."""
        return self.data.id

    @property
    def status(self) -> schema.JobStatus:
        """As of the last answer."""
        return self.data.status

    @property
    def has_ended(self) -> bool:
        """Whether the status is terminal. Extend and retry let the job go on."""
        return self.data.status.is_terminal

    @property
    def progress(self) -> schema.Progress:
        """Frames, chunks and steps done, and the ETA."""
        return self.data.progress

    @property
    def request(self) -> schema.JobSpec:
        """The request with every default filled in."""
        return self.data.request

    @property
    def links(self) -> schema.Links:
        """Addresses of the API: of the playlist, the video, the events, ..."""
        return self.data.links

    @property
    def error(self) -> schema.JobError | None:
        """Why the job failed."""
        return self.data.error

    @property
    def warnings(self) -> tuple[schema.JobWarning, ...]:
        """What in the request was not taken as it was written."""
        return self.data.warnings

    @property
    def created_at(self) -> datetime:
        """When the job was created; with a time zone."""
        return self.data.created_at

    @property
    def expires_at(self) -> datetime | None:
        """When the job and its videos are deleted."""
        return self.data.expires_at
