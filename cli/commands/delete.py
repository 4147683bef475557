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
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of

    with job_of(args) as job:
        job.delete()
    print('{"deleted": true}' if args.json else "deleted")
    return 0
