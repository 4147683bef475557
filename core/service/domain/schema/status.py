"""Status, lanes and event types of a job."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


class JobStatus(StrEnum):
    """queued -> running -> finalizing -> succeeded | failed | canceled | expired; canceling between.

    A terminal status is final."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED}


class EventType(StrEnum):
    """Entries of a job's event log; the same names reach SSE and webhooks."""

    JOB_QUEUED = "job.queued"
    JOB_STARTED = "job.started"
    CHUNK_COMPLETED = "chunk.completed"
    CHUNK_REFINED = "chunk.refined"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELED = "job.canceled"


WebhookEvent = Literal["job.succeeded", "job.failed", "job.canceled", "chunk.completed", "chunk.refined"]


DEFAULT_WEBHOOK_EVENTS: tuple[WebhookEvent, ...] = ("job.succeeded", "job.failed", "job.canceled")


class Lane(StrEnum):
    PREPARE = "prepare"
    GENERATE = "generate"
    REFINE = "refine"
    FINALIZE = "finalize"


LANES_WITH_STEPS = (Lane.GENERATE, Lane.REFINE)
"""Lanes that tell their progress."""


LANES_OF_ANY_MODEL = (Lane.PREPARE, Lane.FINALIZE)
"""Lanes that need no engine: one queue for the jobs of all models, for CPU workers."""
