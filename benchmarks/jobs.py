"""Times jobs on the embedded stack, as a client sees them: first chunk, frames per second, phases of a chunk, and what
a long job spends outside the engine."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.figures import Figure
from cli.output.summary import engine_seconds
from client import Longtake
from core.service.domain.schema import Chunk, Job

POLL_SECONDS = 0.02
LONG_FRAMES = 320
"""Of the job whose overhead is measured: the time from its first to its last commit is that of 19 chunks."""
PROMPT = "a red circle moving left over a striped background"


def measure(client: Longtake, *, runs: int, num_frames: int, say: Callable[[str], None]) -> list[Figure]:
    """Run `runs` jobs one after the other on a warm worker, then a long one, and compute the figures."""
    say("warming up the worker with a job of 32 frames")
    run_job(client, 32, seed=0)
    first_chunk_seconds: list[float] = []
    jobs: list[EndedJob] = []
    for run in range(runs):
        say(f"job {run + 1} of {runs}: {num_frames} frames")
        seconds, job = run_job(client, num_frames, seed=run + 1)
        first_chunk_seconds.append(seconds)
        jobs.append(job)
        say(f"  first chunk after {seconds:.2f} s, {frames_per_second(job):.2f} frames per second")
    return [
        first_chunk_figure(first_chunk_seconds),
        pace_figure(jobs),
        measure_overhead(client, say),
        *phase_figures(jobs),
    ]


def measure_overhead(client: Longtake, say: Callable[[str], None]) -> Figure:
    """The overhead of one long job."""
    say(f"a job of {LONG_FRAMES} frames")
    _, job = run_job(client, LONG_FRAMES, seed=0)
    say(f"  {overhead_percent(job):.2f} % outside the engine, {frames_per_second(job):.2f} frames per second")
    return overhead_figure(job)


@dataclass(frozen=True)
class EndedJob:
    """A job that has succeeded."""

    job: Job
    chunks: Sequence[Chunk]


def run_job(client: Longtake, num_frames: int, seed: int) -> tuple[float, EndedJob]:
    """Seconds from POST to the first chunk, and the job when it has ended. Raises AssertionError if it failed."""
    started = time.perf_counter()
    job = client.jobs.create(prompt=PROMPT, num_frames=num_frames, seed=seed)
    first_chunk = None
    while not job.has_ended:
        time.sleep(POLL_SECONDS)
        job.refresh()
        if first_chunk is None and job.progress.chunks_done:
            first_chunk = time.perf_counter() - started
    assert first_chunk is not None, job.error
    assert job.status == "succeeded", job.error
    return first_chunk, EndedJob(job.data, list(job.chunks(live=False)))


def frames_per_second(ended: EndedJob) -> float:
    """From the first claim to the last commit: the first chunk and everything outside the engine included."""
    job = ended.job
    assert job.started_at is not None
    return job.request.length / (ended.chunks[-1].created_at - job.started_at).total_seconds()


def overhead_percent(job: EndedJob) -> float:
    """Percent of the time from the first to the last commit that was not the engine's."""
    return _overhead_percent(job.chunks)


def _overhead_percent(chunks: Sequence[Chunk]) -> float:
    wall = (chunks[-1].created_at - chunks[0].created_at).total_seconds()
    return 100 * (wall - sum(map(engine_seconds, chunks[1:]))) / wall


def first_chunk_figure(seconds: Sequence[float]) -> Figure:
    return Figure(
        "POST to first chunk URL, warm worker",
        round(statistics.median(seconds), 3),
        "s",
        target=8,
        samples=[round(value, 3) for value in seconds],
    )


def pace_figure(jobs: Sequence[EndedJob]) -> Figure:
    paces = [round(frames_per_second(job), 3) for job in jobs]
    return Figure(
        "generation", round(statistics.median(paces), 3), "frames/s", target=2, better="higher", samples=paces
    )


def overhead_figure(job: EndedJob) -> Figure:
    return Figure(
        f"not the engine, share of the time of {job.job.request.length} frames",
        round(overhead_percent(job), 2),
        "%",
        target=2,
        samples=[round(_overhead_percent(pair), 2) for pair in pairwise(job.chunks)],
        note="first to last commit; samples: from one commit to the next",
    )


def phase_figures(jobs: Sequence[EndedJob]) -> list[Figure]:
    """Median seconds of each phase over all chunks but the first of a job."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for chunk in (chunk for job in jobs for chunk in job.chunks[1:]):
        for phase, value in chunk.timings.items():
            seconds[phase].append(value)
    return [Figure(f"phase {phase}", round(statistics.median(values), 4), "s") for phase, values in seconds.items()]
