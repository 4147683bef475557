"""Jobs of several API keys and priority classes in a real store, as the API and workers leave them."""

from __future__ import annotations

import redis

from core.service.clock import SystemClock
from core.service.domain.frame_plan import CHUNK_FRAMES, chunk_span
from core.service.domain.ids import new_job_id
from core.service.domain.manifest import PAGE_CHUNKS, chunk_key, full_pages
from core.service.domain.ports import Lease
from core.service.domain.schema import (
    VARIANTS,
    ChunkRecord,
    FirstChunkSampling,
    JobRecord,
    JobSpec,
    JobStatus,
    Lane,
    StepProgress,
)
from core.service.redis.job_store import RedisJobStore

MODEL = "sprites"
CHUNKS = 20
"""Of each job."""
OWNERS = tuple(f"key_{number:016d}" for number in range(8))
PRIORITIES = ("normal", "high", "normal", "low", "normal")
"""Of each five jobs in turn."""
PHASES = ("queue", "denoise", "decode", "encode", "upload", "commit")
LEASE_SECONDS = 600.0
FINGERPRINT = "benchmark"


def store_of(client: redis.Redis) -> RedisJobStore:
    return RedisJobStore(client, SystemClock(), retention_seconds=86_400)


def new_record(number: int) -> JobRecord:
    """A job of one of OWNERS as the API admits it, before it is stored."""
    return JobRecord(
        id=new_job_id(),
        status=JobStatus.QUEUED,
        spec=spec_of(PRIORITIES[number // len(OWNERS) % len(PRIORITIES)], seed=number),
        owner=OWNERS[number % len(OWNERS)],
        link_secret="s" * 43,
        request_sha256="0" * 64,
        request_id="r" * 26,
        created_at=SystemClock().now(),
    )


def spec_of(priority: str, seed: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "prompt": "a red circle moving slowly to the left over a striped background",
            "negative_prompt": "",
            "num_frames": CHUNKS * CHUNK_FRAMES,
            "fps": 8,
            "seed": seed,
            "model": MODEL,
            "guidance_scale": 5.0,
            "num_inference_steps": 4,
            "profile": "fast",
            "first_chunk": FirstChunkSampling(num_inference_steps=4, guidance_scale=5.0),
            "priority": priority,
        }
    )


def create(store: RedisJobStore, number: int) -> JobRecord:
    """A queued job whose manifest counts as stored."""
    record = store.create(new_record(number))
    store.manifest_stored(record)
    return record


def claim(store: RedisJobStore, worker: str, own: str | None = None) -> Lease | None:
    """The next piece for a worker that holds the state of the job `own`."""
    held = frozenset({(own, Lane.GENERATE)}) if own else frozenset[tuple[str, Lane]]()
    return store.claim_next([Lane.GENERATE], MODEL, worker, LEASE_SECONDS, held)


def commit(store: RedisJobStore, lease: Lease, job: JobRecord) -> JobRecord:
    """The next chunk of `job`, as claimed."""
    return store.commit_chunk(lease, chunk_of(job, job.chunks.count), FINGERPRINT)


def report(store: RedisJobStore, lease: Lease) -> bool:
    """A denoising step, as workers report it."""
    step = StepProgress(lane=lease.lane, chunk_index=0, step=1, steps=50, at=SystemClock().now())
    return store.report_progress(lease.job_id, step)


def manifest_written(store: RedisJobStore, job: JobRecord) -> None:
    """What the writer of a manifest asks and notes, beside the object."""
    store.stale_pages(job.id)
    for variant in VARIANTS:
        totals = job.totals(variant)
        store.chunks(job.id, variant, full_pages(totals) * PAGE_CHUNKS, totals.count)
    store.manifest_stored(job)


def chunk_of(job: JobRecord, index: int) -> ChunkRecord:
    """Chunk `index` of a job as a worker commits it; its object does not exist."""
    span = chunk_span(index, job.spec.length)
    return ChunkRecord(
        index=index,
        first_frame=span.first_frame,
        num_frames=span.num_frames,
        key=chunk_key(job.id, index),
        head_bytes=782,
        size_bytes=6000,
        sha256="0" * 64,
        state_sha256="1" * 64,
        created_at=SystemClock().now(),
        timings=dict.fromkeys(PHASES, 0.1234),
    )
