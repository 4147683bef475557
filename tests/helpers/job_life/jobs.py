"""The jobs that a run may ask for."""

from __future__ import annotations

from typing import Any, Literal

from core.service.domain.ids import UPLOAD_ID_PREFIX
from core.service.domain.schema import JobRecord, JobStatus
from core.service.testing.clock import FakeClock
from tests.helpers.jobs import job_spec, refine_spec

SIDE = 32
"""Pixels: few, for thousands of chunks are made."""
MODEL = job_spec().model
Kind = Literal["plain", "streaming", "lockstep", "picture"]
WEBHOOKS: dict[str, Any] = {
    "webhook_url": "https://receiver.example/",
    "webhook_events": (
        *("job.succeeded", "job.failed", "job.canceled", "job.measured"),
        *("chunk.completed", "chunk.refined"),
    ),
}
PICTURE = f"{UPLOAD_ID_PREFIX}{'a' * 20}"
"""An upload that is there for all jobs, and for ever: nobody but this package knows of it."""
REQUESTS: dict[Kind, dict[str, Any]] = {
    "plain": {"num_frames": 40},
    "streaming": {"num_frames": 40, "refine": refine_spec(num_inference_steps=1)},
    "lockstep": {"num_frames": 25, "refine": refine_spec(num_inference_steps=2, schedule="lockstep")},
    "picture": {"num_frames": 32, "image": PICTURE},
}
SEEDS = (3, 500)
"""Two jobs of a kind with different pictures, so that one's bytes are never taken for the other's."""


def new_job(number: int, kind: Kind, clock: FakeClock, *, webhooks: bool, measure: bool) -> JobRecord:
    job_id = f"job_{number}"
    spec = job_spec(**REQUESTS[kind], seed=SEEDS[number % 2], metadata={"job": job_id}, measure=measure)
    spec = spec.model_copy(update=WEBHOOKS) if webhooks else spec
    return JobRecord(id=job_id, status=JobStatus.QUEUED, spec=spec, created_at=clock.now())
