"""What changed between two views of a job, as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import islice

from core.service.domain.frame_rate import seconds_of
from core.service.domain.schema import Chunk, Job, JobStatus, JobWarning, Progress

STATUS_WORDS = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "running",
    JobStatus.CANCELING: "canceling: what exists is kept",
    JobStatus.FINALIZING: "finalizing: joining the chunks without re-encoding",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "canceled",
    JobStatus.EXPIRED: "expired",
}


ReadChunks = Callable[[int], Iterable[Chunk]]
"""The finished chunks of the job with an index above this one."""


def changed_lines(before: Job | None, job: Job, read_chunks: ReadChunks) -> list[str]:
    """Lines for what changed from `before` to `job`; None as `before` shows everything."""
    warned = len(before.warnings) if before else 0
    lines = [f"warning   {warning_line(warning)}" for warning in job.warnings[warned:]]
    known = before.progress.chunks_done if before else 0
    lines += [chunk_line(chunk, job.request.fps) for chunk in _from(known, job.progress.chunks_done, read_chunks)]
    known = num_refined(before) if before else 0
    lines += [refined_line(chunk) for chunk in _from(known, num_refined(job), read_chunks)]
    if before is None or before.status is not job.status:
        lines.append(f"job       {STATUS_WORDS[job.status]}")
    if job.progress.preparing and not (before and before.progress.preparing):
        lines.append("job       preparing: what it begins with or follows is fetched and decoded")
    if before is not None and before.request.num_frames != (length := job.request.num_frames):
        lines.append(f"length    {'without end' if length is None else f'{length} frames'}")
    return lines


def _from(first: int, end: int, read_chunks: ReadChunks) -> Iterable[Chunk]:
    """Chunks `first` to `end` (exclusive)."""
    return islice(read_chunks(first - 1), end - first) if first < end else ()


def chunk_line(chunk: Chunk, fps: int | Fraction) -> str:
    """One finished chunk with the URL that plays it."""
    playable = seconds_of(chunk.first_frame + chunk.num_frames, fps)
    return f"chunk {chunk.index:<3} {playable:.1f} s playable  {chunk.url}"


def warning_line(warning: JobWarning) -> str:
    """A warning with the field that it is about."""
    return f"{warning.field}: {warning.message}" if warning.field else warning.message


def refined_line(chunk: Chunk) -> str:
    """One refined chunk with the URL that plays it."""
    return f"refined {chunk.index:<3} {chunk.refined_url}"


def num_refined(job: Job) -> int:
    """Chunks that are refined."""
    return job.progress.chunks_refined or 0


def progress_line(progress: Progress) -> str:
    """Progress in one short line."""
    parts = [
        _step(progress),
        f"chunks {progress.chunks_done}{_of_total(progress)}",
        *_refinement(progress),
        f"{progress.seconds_playable:.1f} s playable",
        _eta(progress),
    ]
    return "  ".join(parts)


def _of_total(progress: Progress) -> str:
    return "" if progress.chunks_total is None else f"/{progress.chunks_total}"


def _eta(progress: Progress) -> str:
    if progress.chunks_total is None:
        return "length unknown yet" if progress.preparing else "without end"
    return "ETA " + ("?" if progress.eta_seconds is None else f"{progress.eta_seconds:.0f} s")


def _refinement(progress: Progress) -> list[str]:
    """Progress of refinement, if the job has it."""
    if progress.chunks_refined is None:
        return []
    step = f", step {progress.refine_step}/{progress.refine_steps}" if progress.refine_steps else ""
    return [f"refined {progress.chunks_refined}{_of_total(progress)}{step}"]


def _step(progress: Progress) -> str:
    if progress.preparing:
        return "preparing"
    if progress.queue_position is not None:
        starts = progress.starts_in_seconds
        return f"place {progress.queue_position} in the queue" + (
            "" if starts is None else f", starts in {starts:.0f} s"
        )
    if progress.steps:
        return f"step {progress.step}/{progress.steps}"
    return "all chunks are made" if progress.chunks_done == progress.chunks_total else "between two chunks"


def fraction_done(progress: Progress) -> float:
    """0 to 1, by denoising steps; 0 without an end. With refinement each lane counts half."""
    if progress.chunks_total is None:
        return 0.0
    making = progress.chunks_done + _part(progress.step, progress.steps)
    if progress.chunks_refined is None:
        return min(1.0, making / max(1, progress.chunks_total))
    refining = progress.chunks_refined + _part(progress.refine_step, progress.refine_steps)
    return min(1.0, (making + refining) / max(1, 2 * progress.chunks_total))


def _part(step: int, steps: int) -> float:
    return step / steps if steps else 0.0
