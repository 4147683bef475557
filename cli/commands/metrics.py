"""`longtake metrics`: GET and POST /jobs/{id}/metrics from the command line."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client import Job
    from core.service.domain.schema import JobMetrics

NAME = "metrics"
SUMMARY = "measure a finished job's video, and show what was measured"
DESCRIPTION = """\
Shows the metrics of an ended job: hard cuts, warp errors, drift, each with its unit. A job that was not submitted
with --measure is measured now; the command waits for it. `longtake evaluate` measures more, also of other files."""
EXAMPLES = """\
examples:
  longtake metrics job_k3mq5w7zr2ay4n6c5bqd
  longtake metrics job_k3mq5w7zr2ay4n6c5bqd --meaning
  longtake metrics job_k3mq5w7zr2ay4n6c5bqd --json | python -m json.tool
"""
POLL_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)
    parser.add_argument("--again", action="store_true", help="try once more what could not be measured, or is lost")
    parser.add_argument("--meaning", action="store_true", help="say what each value means, and where it comes from")


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of
    from cli.output.metric_lines import metric_lines

    with job_of(args) as job:
        metrics = measured(job, again=args.again)
    print(metrics.model_dump_json() if args.json else "\n".join(metric_lines(metrics, with_meaning=args.meaning)))
    return 0


def measured(job: Job, *, again: bool = False) -> JobMetrics:
    """The metrics of the job, which is waited for and measured if needed; with `again` also if it could not be before,
    or the metrics are lost.
    Raises ApiError if it cannot be measured."""
    known = job.data.measurement
    if again or known is None or known.status == "waiting":  # it may wait in vain for workers of an older version
        job.measure()
    is_told = False
    while job.data.measurement is not None and job.data.measurement.status == "waiting":
        if not is_told:
            print(f"{job.id} is {job.status}; waiting until it is measured", file=sys.stderr)
            is_told = True
        time.sleep(POLL_SECONDS)
        job.refresh()
    return job.metrics()
