"""`longtake cancel`: POST /jobs/{id}/cancel from the command line."""

from __future__ import annotations

import argparse

NAME = "cancel"
SUMMARY = "end a job with the chunks that it has"
DESCRIPTION = """\
Cancels a job that has not ended, and prints its status. The finished chunks become the final video; `longtake retry`
lets the job go on. A video without end is ended so, or by `longtake steer --frames`."""
EXAMPLES = """\
examples:
  longtake cancel job_k3mq5w7zr2ay4n6c5bqd
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of

    with job_of(args) as job:
        canceled = job.cancel().data
    print(canceled.model_dump_json() if args.json else canceled.status)
    return 0
