"""What operators see of the whole service at one moment: the answer of GET /status. Has no prompt, key or link."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from core.service.domain.priority import Priority
from core.service.domain.schema import JobStatus, Lane, Shown
from core.service.domain.worker_kinds import WorkerKind, WorkerState


class PauseView(Shown):
    """What `longtake pause` holds, until `longtake resume` with the same option."""

    model: str | None = Field(description="Its generation and refinement.")
    worker: str | None = Field(
        description="One process, with or without its process id. Null, and `model` too: everything."
    )
    since: datetime


class PieceView(Shown):
    """What a worker has claimed and is making."""

    job_id: str
    lane: Lane
    chunk: int | None = Field(description="Index; null on `prepare` and `finalize`.")
    step: int | None = Field(description="Denoising step of the chunk; null before the first one is reported.")
    steps: int | None
    seconds: float = Field(description="Since the claim.")


class WorkerNow(Shown):
    """A worker process, as GET /readyz lists it, and what it is making."""

    name: str
    kind: WorkerKind
    model: str | None
    state: WorkerState
    reason: str | None = Field(description="Why it is not ready, or what it waits for.")
    device: str
    pid: int
    cuda_visible_devices: str | None
    started_at: datetime
    paused: bool = Field(description="It finishes what it is making, and begins nothing more.")
    making: list[PieceView] = Field(
        description="At most one piece, but of a CPU worker one for each input that it prepares, and a video."
    )


class QueueView(Shown):
    """A pool: what competes for the same workers."""

    pool: str = Field(description="A model, or `prepare` or `finalize`: work of CPU workers for all models.")
    waiting: dict[Priority, int] = Field(description="Jobs that a worker could take now, new and begun ones, by class.")
    waiting_seconds: float | None = Field(description="How long the one that waits longest could be taken; null: none.")
    queued_jobs: int = Field(
        description="Jobs with work that no worker has begun, and begun ones without an end. One that is generated and "
        "refined counts for both lanes."
    )
    begun_jobs: int = Field(description="Jobs that are to be finished, those in work included.")
    queue_seconds: float | None = Field(
        description="Expected worker seconds of all open work; null if none of it was ever timed."
    )
    active_workers: int = Field(description="Lanes that workers hold.")
    desired_workers: int = Field(
        description="Workers that would do the open work within the target and keep pace with viewers; 0 while paused."
    )
    workers: int = Field(description="Processes that are ready or busy.")
    unserved: list[Lane] = Field(
        description="Lanes with jobs that wait, and no worker that could take them now or when it has started."
    )


class RateView(Shown):
    """What the workers of a model have committed lately, counted with each commit."""

    model: str
    lane: Lane = Field(description="`generate` or `refine`.")
    chunks_per_second: float
    frames_per_second: float
    realtime_factor: float = Field(description="Seconds of video a second, of all workers together.")


class ServiceStatus(Shown):
    """The whole service at one moment."""

    at: datetime = Field(description="When it was read: at most about a second ago.")
    paused: list[PauseView]
    workers: list[WorkerNow]
    queues: list[QueueView] = Field(description="Pools that have work or a worker.")
    rates: list[RateView] = Field(description="Models for which something was committed within `rate_seconds`.")
    rate_seconds: float = Field(description="60 to 70.")
    jobs: dict[JobStatus, int] = Field(description="Stored jobs by status.")
    webhooks_pending: int = Field(description="To be sent, retries included.")
