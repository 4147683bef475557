"""`longtake delivery`: how jobs' videos reached their viewers, from their event logs."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.commands.list_jobs import STATUSES

if TYPE_CHECKING:
    from client import Job, Longtake
    from core.metrics.delivery.measure import JobDelivery

NAME = "delivery"
SUMMARY = "how jobs' chunks reached their viewers: first chunk, gaps, stalls"
DESCRIPTION = """\
Measures from a job's event log what somebody had who watched it while it was being made: time to the first chunk, gaps
between chunks, deadlines met, stalls, and the smallest start-up buffer without any stall. A line shows it over time:

  .  queued        -  the first chunk is being made        b  the start-up buffer
  =  playback      !  a stall: the next chunk is not there yet; i  a brief one, of less than half a letter

The viewer begins with the first chunk, or --buffer seconds after it, and goes on after a stall as soon as the next
chunk is there. Each generation of a job (extended, retried) is measured for itself, and refined chunks are, too. A job
that still runs is measured so far. Times are the service's: the network on the way to a viewer is not in them.
docs/delivery.md explains every figure.

The exit code is 1 if a job is not found, or none is measured; else 0."""
EXAMPLES = """\
examples:
  longtake delivery job_k3mq5w7zr2ay4n6c5bqd                 one job, figure by figure
  longtake delivery job_k3mq5w7zr2ay4n6c5bqd --buffer 4      a viewer who begins 4 s after the first chunk
  longtake delivery job_one job_two job_three                several: a row each, and how they are spread
  longtake delivery --all --status succeeded --limit 50      the newest of all jobs
  longtake delivery --all --out delivery.svg                 a picture, for a browser
  longtake delivery --all --json | python -m json.tool
"""
MOST_JOBS = 100
DEFAULT_JOBS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_api_arguments

    parser.add_argument("jobs", nargs="*", metavar="JOB", help="ids of jobs")
    parser.add_argument("--all", action="store_true", help="the newest jobs instead")
    parser.add_argument("--status", choices=STATUSES, metavar="STATUS", help="with --all: only jobs of this status")
    parser.add_argument(
        "--limit", type=_limit, metavar="N", help=f"with --all: so many, up to {MOST_JOBS} (default: {DEFAULT_JOBS})"
    )
    parser.add_argument(
        "--buffer",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="the viewer begins so long after the first chunk (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE.svg", help="also draw the lines over time as a picture")
    add_api_arguments(parser)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 on")
    return seconds


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_JOBS}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import RequestFailed, api_of

    if bool(args.jobs) == args.all:
        raise RequestFailed("name jobs, or pass --all", fix="`longtake list` shows their ids")
    if args.status and not args.all:
        raise RequestFailed("--status is for --all: jobs that are named are measured in any status")
    if args.limit is not None and not args.all:
        raise RequestFailed("--limit is for --all: all jobs that are named are measured")
    if args.out is not None and args.out.suffix != ".svg":
        raise RequestFailed(f"--out draws an SVG: {args.out} does not end with .svg")
    with api_of(args) as client:
        measured, missing = measure(client, args)
    _print(measured, args)
    is_any = any(job.generations for job in measured)
    if args.out is not None and is_any:
        draw(measured, args.out)
    for job_id in missing:
        print(f"longtake: there is no job {job_id}", file=sys.stderr)
    if not measured and not missing:
        print("no such jobs" if args.status else "no jobs yet", file=sys.stderr)
    return 0 if is_any and not missing else 1


def measure(client: Longtake, args: argparse.Namespace) -> tuple[list[JobDelivery], list[str]]:
    """What is measured of the jobs, and ids of those that are not there."""
    from client import NotFound

    if args.all:
        page = client.jobs.page(args.status, args.limit or DEFAULT_JOBS)
        job_ids = [job.id for job in page.jobs]
    else:
        job_ids = [*dict.fromkeys(args.jobs)]
    measured: list[JobDelivery] = []
    missing: list[str] = []
    for job_id in job_ids:
        try:
            measured.append(read_delivery(client.jobs.get(job_id), args.buffer))
        except NotFound:
            missing.append(job_id)
    return measured, missing


def read_delivery(job: Job, buffer_seconds: float = 0.0) -> JobDelivery:
    """Measure a job by its log until now; one of more than 2,000 entries by its list of chunks. Raises ClientError."""
    from core.metrics.delivery.log import is_whole
    from core.metrics.delivery.measure import measure_job
    from core.service.domain.schema import JobEvent

    events = [JobEvent.model_validate_json(event.data) for event in job.past_events()]
    chunks = () if is_whole(events) else [*job.chunks(live=False)]
    return measure_job(job.data, events, chunks, buffer_seconds)


def draw(measured: Sequence[JobDelivery], file: Path) -> None:
    """Write the picture. Raises SetupError if that is not possible."""
    from cli.output.delivery_svg import svg
    from core.service.domain.errors import SetupError

    try:
        file.write_text(svg(measured), encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"{file} cannot be written: {error.strerror}", fix="name a file in a folder that is there"
        ) from error


def _print(measured: Sequence[JobDelivery], args: argparse.Namespace) -> None:
    if args.json:
        import json

        from cli.output.delivery_json import as_json

        print(json.dumps(as_json(measured, args.buffer), indent=1))
    elif measured:
        from cli.output.delivery import show

        show(measured)
