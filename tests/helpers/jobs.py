"""Job records and chunks for tests, with defaults for everything that a test does not set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from core.service.domain.frame_plan import chunk_span
from core.service.domain.manifest import chunk_key
from core.service.domain.ports import JobStore
from core.service.domain.schema import (
    ChunkRecord,
    FirstChunkSampling,
    JobRecord,
    JobSpec,
    JobStatus,
    Lane,
    RefineSpec,
    StepProgress,
)
from core.service.domain.schema.older import totals_of

DAY_ONE = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job_spec(**changes: Any) -> JobSpec:
    """Two chunks of a red circle, unless told otherwise."""
    values: dict[str, Any] = {
        "prompt": "a red circle",
        "negative_prompt": "",
        "num_frames": 32,
        "fps": 8,
        "seed": 7,
        "model": "sprites",
        "guidance_scale": 5.0,
        "num_inference_steps": 4,
        "profile": "fast",
        "first_chunk": FirstChunkSampling(num_inference_steps=4, guidance_scale=5.0),
    }
    return JobSpec(**(values | changes))


def refine_spec(**changes: Any) -> RefineSpec:
    """Doubled in size, window by window, unless told otherwise."""
    values: dict[str, Any] = {
        "strength": 0.6,
        "num_inference_steps": 3,
        "guidance_scale": 2.0,
        "height": 128,
        "width": 128,
        "schedule": "streaming",
    }
    return RefineSpec(**(values | changes))


def queued_job(number: int = 1, *, age_seconds: float = 0.0, **spec: Any) -> JobRecord:
    """Job number `number`, made `age_seconds` before noon of DAY_ONE."""
    return JobRecord(
        id=f"job_{number:020d}",
        status=JobStatus.QUEUED,
        spec=job_spec(**spec),
        created_at=DAY_ONE - timedelta(seconds=age_seconds),
    )


def chunk_of(job: JobRecord, index: int) -> ChunkRecord:
    """Chunk `index` of a job as a worker would commit it."""
    span = chunk_span(index, job.spec.length)
    return ChunkRecord(
        index=index,
        first_frame=span.first_frame,
        num_frames=span.num_frames,
        key=chunk_key(job.id, index),
        head_bytes=800,
        size_bytes=5000 + index,
        sha256=f"{index:064x}",
        created_at=DAY_ONE + timedelta(seconds=index),
        timings={"denoise": 1.5},
    )


def with_chunks(record: JobRecord, count: int, refined: int = 0) -> JobRecord:
    """The job after so many commits of chunks and then of refined chunks."""
    totals = {"chunks": totals_of(chunks_of(record, count)), "refined": totals_of(chunks_of(record, refined))}
    return record.model_copy(update={**totals, "version": count + refined})


def chunks_of(job: JobRecord, count: int) -> tuple[ChunkRecord, ...]:
    """The first `count` chunks of a job, as they are stored after their commits."""
    return tuple(chunk_of(job, index).model_copy(update={"version": index + 1}) for index in range(count))


def progress_of(store: JobStore, job_id: str, lane: Lane = Lane.GENERATE) -> StepProgress | None:
    """What the lane reported last, whatever the job's status is."""
    running = queued_job(refine=refine_spec()).model_copy(update={"id": job_id, "status": JobStatus.RUNNING})
    return store.live_statuses([running])[0].steps.get(lane)


def queue_position_of(store: JobStore, job_id: str) -> int | None:
    """1 = next of its model's queued jobs; None once started."""
    return store.live_statuses([store.get(job_id)])[0].queue_position
