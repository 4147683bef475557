"""A job as `longtake get` and `longtake list` print it. Pure."""

from __future__ import annotations

from cli.output.job_diff import STATUS_WORDS, progress_line, warning_line
from core.service.domain.schema import JobSummary

PROMPT_CHARACTERS = 60
_MEASURED = {
    "waiting": "not yet",
    "measured": "yes: see `longtake metrics`",
    "failed": "failed: see `longtake metrics`",
}


def job_lines(job: JobSummary) -> list[str]:
    """What there is to know of a job, a fact a line."""
    lines = [
        f"job       {job.id}",
        f"status    {STATUS_WORDS[job.status]}",
        f"prompt    {job.request.prompt}",
        f"made by   {job.request.model}, seed {job.request.seed}",
        f"priority  {job.request.priority}",
        f"progress  {_progress(job)}",
        f"created   {job.created_at:%Y-%m-%d %H:%M:%S} UTC",
    ]
    if job.expires_at is not None:
        lines.append(f"expires   {job.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    if job.error is not None:
        lines.append(f"error     {job.error.code}: {job.error.message}")
    if job.measurement is not None:
        lines.append(f"measured  {_MEASURED[job.measurement.status]}")
    lines += [f"warning   {warning_line(warning)}" for warning in job.warnings]
    return [*lines, f"playlist  {job.links.playlist}", f"video     {job.links.video}"]


def list_line(job: JobSummary) -> str:
    """A job in one line."""
    prompt = " ".join(job.request.prompt.split())
    shown = prompt if len(prompt) <= PROMPT_CHARACTERS else f"{prompt[: PROMPT_CHARACTERS - 1]}…"
    return f"{job.id}  {job.status.value:<10}  {_chunks(job):>11}  {job.created_at:%Y-%m-%d %H:%M}  {shown}"


def _progress(job: JobSummary) -> str:
    return _chunks(job) if job.status.is_terminal else progress_line(job.progress)


def _chunks(job: JobSummary) -> str:
    total = job.progress.chunks_total
    return f"{job.progress.chunks_done}{'' if total is None else f'/{total}'} chunks"
