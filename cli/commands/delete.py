"""`longtake delete`: DELETE /jobs/{id} from the command line."""

from __future__ import annotations

import argparse

NAME = "delete"
SUMMARY = "delete a job and its videos"
DESCRIPTION = """\
Deletes a job with everything that is stored of it, also one that still runs. `longtake cancel` ends a job and keeps
its video."""
EXAMPLES = """\
examples:
  longtake delete job_k3mq5w7zr2ay4n6c5bqd
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_api_arguments

    parser.add_argument("job", help="id of the job")
    add_api_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of

    with job_of(args) as job:
        job.delete()
    print("deleted")
    return 0
