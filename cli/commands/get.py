"""`longtake get`: GET /jobs/{id} from the command line."""

from __future__ import annotations

import argparse

NAME = "get"
SUMMARY = "show a job: status, progress, links"
DESCRIPTION = """\
Shows a job as it stands now. `longtake watch` follows it."""
EXAMPLES = """\
examples:
  longtake get job_k3mq5w7zr2ay4n6c5bqd
  longtake get job_k3mq5w7zr2ay4n6c5bqd --json | python -m json.tool
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of
    from cli.output.job_lines import job_lines

    with job_of(args) as job:
        print(job.data.model_dump_json() if args.json else "\n".join(job_lines(job.data)))
    return 0
