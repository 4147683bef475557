"""Jobs as the API would show them, for tests of the client and of the command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from core.service.domain.schema import Chunk, Job, JobStatus, Links, Progress
from tests.helpers.jobs import job_spec

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPEC = job_spec(
    prompt="a red circle",
    negative_prompt="",
    num_frames=48,
    fps=8,
    seed=1,
    model="sprites",
    guidance_scale=3.0,
    num_inference_steps=10,
)
MakeJob = Callable[..., Job]


def chunk(index: int, *, is_refined: bool = False) -> Chunk:
    """A 16-frame chunk that took 4 s and appeared at 5, 9, 13 s."""
    return Chunk(
        index=index,
        first_frame=16 * index,
        num_frames=16,
        url=f"http://s3.test/jobs/job_x/chunks/{index:05d}.mp4?signature=abc",
        refined_url=f"http://s3.test/jobs/job_x/refined/{index:05d}.mp4" if is_refined else None,
        size_bytes=1000,
        sha256="0" * 64,
        created_at=START + timedelta(seconds=5 + 4 * index),
        timings={"denoise": 3.0, "decode": 0.5, "encode": 0.2, "upload": 0.1, "queue": 0.1},
    )


def build_job(
    status: JobStatus = JobStatus.RUNNING,
    num_chunks: int = 0,
    step: int = 0,
    steps: int = 0,
    num_refined: int | None = None,
) -> Job:
    base = "http://api.test/jobs/job_x"
    return Job(
        id="job_x",
        status=status,
        version=num_chunks,
        request=SPEC,
        progress=Progress(
            frames_done=16 * num_chunks,
            frames_total=48,
            chunks_done=num_chunks,
            chunks_total=3,
            chunks_refined=num_refined,
            step=step,
            steps=steps,
            seconds_playable=2.0 * num_chunks,
            seconds_per_chunk=4.0 if num_chunks else None,
            realtime_factor=0.5 if num_chunks else None,
            eta_seconds=12.0 - 4 * num_chunks if num_chunks else None,
            queue_position=None,
        ),
        links=Links(
            self=base,
            chunks=f"{base}/chunks",
            events=f"{base}/events",
            playlist=f"{base}/playlist.m3u8",
            video=f"{base}/video.mp4",
            thumbnail=f"{base}/thumbnail.jpg",
            cancel=f"{base}/cancel",
        ),
        error=None,
        created_at=START,
        started_at=START + timedelta(seconds=1),
        first_chunk_at=START + timedelta(seconds=5) if num_chunks else None,
        finished_at=None,
        expires_at=None,
    )


def shown_chunks(job: Job, after: int = -1) -> list[Chunk]:
    """The finished chunks of a job that `build_job` made."""
    refined = job.progress.chunks_refined or 0
    return [chunk(index, is_refined=index < refined) for index in range(after + 1, job.progress.chunks_done)]


@pytest.fixture
def make_job() -> MakeJob:
    return build_job
