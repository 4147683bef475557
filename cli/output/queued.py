"""What commands print that queue a job: its id, for other commands, and its warnings."""

from __future__ import annotations

import sys

from cli.output.job_diff import warning_line
from core.service.domain.schema import Job


def print_queued(job: Job, *, as_json: bool) -> None:
    """The id, or the whole job as JSON; warnings go to stderr."""
    print(job.model_dump_json() if as_json else job.id, flush=True)
    for warning in job.warnings:
        print(f"warning: {warning_line(warning)}", file=sys.stderr)
