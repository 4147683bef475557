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
    from cli.commands.api import add_url_argument

    parser.add_argument("job", help="id of the job")
    add_url_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import api_client

    with api_client(args.url) as client:
        print(client.cancel_job(args.job).status)
    return 0
