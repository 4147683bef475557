"""`longtake watch`: follow a job of a running service until it ends."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client import Client

NAME = "watch"
SUMMARY = "follow a job: progress, chunk URLs, result"
DESCRIPTION = """\
Follows a job by its event stream, or by polling if the stream breaks, and prints each chunk's URL as it appears.
Ctrl-C does not stop the job. The exit code is 0 only if the job succeeded."""
EXAMPLES = """\
examples:
  longtake watch job_abcdefghijklmnopqrst
  longtake watch job_abcdefghijklmnopqrst --out out     also save the video and a contact sheet
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_url_argument

    parser.add_argument("job", help="id of the job")
    parser.add_argument(
        "--out",
        type=Path,
        help="when the job has succeeded, save its videos and a contact sheet in this folder",
    )
    add_url_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import api_client

    with api_client(args.url) as client:
        return watch_job(client, args.job, args.out)


def watch_job(client: Client, job_id: str, out: Path | None) -> int:
    """Show a job until it ends; exit code 0 if it succeeded."""
    from cli.output.results import save_results
    from cli.output.summary import summarize
    from cli.output.terminal import Screen

    screen = Screen()
    screen.say(f"playlist  {client.get_job(job_id).links.playlist}")
    job = screen.show_job(client.follow(job_id), partial(client.chunks, job_id))
    if job.error is not None:
        screen.say(f"error     {job.error.code}: {job.error.message}")
    if out is not None and job.status == "succeeded":
        saved = save_results(client, job, out)
        screen.say(f"saved     {', '.join(map(str, saved.files))}")
    screen.show_summary(summarize(job, list(client.chunks(job_id))))
    return 0 if job.status == "succeeded" else 1
