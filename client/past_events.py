"""Where the past of a job's event stream ends: what the job had when it was read. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from client.following import PROGRESS_EVENT
from client.sse import ServerEvent
from core.service.domain.schema import EventType, Job, JobStatus

_OF_A_STARTED_JOB = frozenset({EventType.JOB_STARTED, EventType.CHUNK_COMPLETED, EventType.CHUNK_REFINED})


@dataclass
class PastEvents:
    """Shown each event in turn, it knows when the stream has told all that `job` shows.

    A job that has not ended stays silent after that until something happens, so the stream itself does not tell."""

    job: Job
    _generation: int = 0
    _has_started: bool = False
    _version: int = 0
    _chunks: int = 0
    _refined: int = 0

    def __post_init__(self) -> None:
        if self.job.branched_from is not None:  # copies have no events
            self._chunks = self.job.branched_from.from_chunk

    @staticmethod
    def is_live(event: ServerEvent) -> bool:
        """Whether it comes after the whole log: progress is told while a listener waits for more."""
        return event.type == PROGRESS_EVENT

    def is_last(self, event: ServerEvent) -> bool:
        """Take the event into account. True if no other one is needed for what the job shows."""
        data = event.json().get("data", {})
        if event.type == EventType.JOB_QUEUED:
            self._generation, self._has_started = data.get("generation", 0), False
        elif event.type in _OF_A_STARTED_JOB:  # the log may have lost job.started
            self._has_started = True
        if event.type == EventType.CHUNK_COMPLETED:
            self._chunks = data["chunk"]["index"] + 1
        elif event.type == EventType.CHUNK_REFINED:
            self._refined = data["chunk"]["index"] + 1
        self._version = data.get("version", self._version)
        return self._generation >= self.job.generation and self._has_all(event)

    def _has_all(self, event: ServerEvent) -> bool:
        if self.job.status.is_terminal:
            return event.is_last
        if self.job.status is JobStatus.QUEUED:
            return True
        progress = self.job.progress
        has_chunks = self._chunks >= progress.chunks_done and self._refined >= (progress.chunks_refined or 0)
        # The log keeps the newest entries: that of the last chunk of one variant may be gone, but not the newest one.
        return self._has_started and (has_chunks or self._version >= self.job.version)
