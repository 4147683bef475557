"""`longtake retry`: POST /jobs/{id}/retry from the command line."""

from __future__ import annotations

import argparse

NAME = "retry"
SUMMARY = "let a failed or canceled job go on"
DESCRIPTION = """\
A job that failed or was canceled goes on from its last good chunk, to the length that was asked for."""
EXAMPLES = """\
examples:
  longtake retry job_k3mq5w7zr2ay4n6c5bqd
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of
    from cli.output.queued import print_queued

    with job_of(args) as job:
        print_queued(job.retry().data, as_json=args.json)
    return 0
