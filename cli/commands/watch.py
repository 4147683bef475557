"""`longtake watch`: follow a job of a running service until it ends."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client import Job, Longtake

NAME = "watch"
SUMMARY = "follow a job: progress, chunk URLs, result"
DESCRIPTION = """\
Follows a job by its event stream, or by polling if the stream breaks, and prints each chunk's URL as it appears.
Ctrl-C does not stop the job. The exit code is 0 only if the job succeeded."""
EXAMPLES = """\
examples:
  longtake watch job_abcdefghijklmnopqrst
  longtake watch job_abcdefghijklmnopqrst --out out     also save the video and a contact sheet
  longtake watch job_abcdefghijklmnopqrst --json        its events instead, one a line
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)
    parser.add_argument(
        "--out",
        type=Path,
        help="when the job has succeeded, save its videos and a contact sheet in this folder",
    )


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import api_of

    with api_of(args) as client:
        job = client.jobs.get(args.job)
        return print_events(job) if args.json else watch_job(client, job, args.out)


def print_events(job: Job) -> int:
    """Every event of the job as one line of JSON; exit code 0 if it succeeded."""
    for event in job.events():
        print(event.data, flush=True)
    return exit_code_of(job.refresh())


def watch_job(client: Longtake, job: Job, out: Path | None) -> int:
    """Show a job until it ends; exit code 0 if it succeeded."""
    from cli.output.results import save_results
    from cli.output.summary import summarize
    from cli.output.terminal import Screen

    screen = Screen()
    screen.say(f"playlist  {job.links.playlist}")
    screen.show_job(job.follow(), partial(job.chunks, live=False))
    if job.error is not None:
        screen.say(f"error     {job.error.code}: {job.error.message}")
    if out is not None and job.status == "succeeded":
        saved = save_results(client, job, out)
        screen.say(f"saved     {', '.join(map(str, saved.files))}")
    screen.show_summary(summarize(job.data, list(job.chunks(live=False))))
    return exit_code_of(job)


def exit_code_of(job: Job) -> int:
    return 0 if job.status == "succeeded" else 1
