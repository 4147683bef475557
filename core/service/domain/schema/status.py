"""Status, lanes and event types of a job."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


class JobStatus(StrEnum):
    """queued -> running -> finalizing -> succeeded | failed | canceled | expired; canceling between.

    A terminal status ends a generation of the job: an extension or a retry leads back to `queued`. `expired` is
    reserved: no transition leads to it, retention removes a job instead."""

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
    """Types of the entries of a job's event log; SSE and webhooks use the same names."""

    JOB_QUEUED = "job.queued"
    JOB_STARTED = "job.started"
    CHUNK_COMPLETED = "chunk.completed"
    CHUNK_REFINED = "chunk.refined"
    JOB_PROMPT_CHANGED = "job.prompt_changed"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELED = "job.canceled"
    JOB_MEASURED = "job.measured"


WebhookEvent = Literal[
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "chunk.completed",
    "chunk.refined",
    "job.prompt_changed",
    "job.measured",
]


DEFAULT_WEBHOOK_EVENTS: tuple[WebhookEvent, ...] = ("job.succeeded", "job.failed", "job.canceled")


class Lane(StrEnum):
    """A kind of work on a job, with its own lease, fencing token and task queue."""

    PREPARE = "prepare"
    GENERATE = "generate"
    REFINE = "refine"
    FINALIZE = "finalize"
    MEASURE = "measure"
    """Of a job that has ended: its status says nothing of it."""


LANES_WITH_STEPS = (Lane.GENERATE, Lane.REFINE)
"""Lanes that report denoising steps."""


LANES_OF_ANY_MODEL = (Lane.PREPARE, Lane.FINALIZE, Lane.MEASURE)
"""Lanes that need no engine: CPU workers serve one queue for the jobs of all models."""
