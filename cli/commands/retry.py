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
    from cli.commands.api import add_url_argument

    parser.add_argument("job", help="id of the job")
    add_url_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import api_client
    from cli.output.queued import print_queued

    with api_client(args.url) as client:
        print_queued(client.retry_job(args.job))
    return 0
