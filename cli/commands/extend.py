"""`longtake extend`: POST /jobs/{id}/extend from the command line."""

from __future__ import annotations

import argparse

NAME = "extend"
SUMMARY = "make an ended job longer"
DESCRIPTION = """\
Adds frames to a job that has succeeded or was canceled. It goes on under its id and its links; what exists stays
served until the longer video is there."""
EXAMPLES = """\
examples:
  longtake extend job_k3mq5w7zr2ay4n6c5bqd 48
  longtake extend job_k3mq5w7zr2ay4n6c5bqd 48 --prompt "a blue circle moving left over a striped background"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)
    parser.add_argument("frames", type=int, help="how many frames are added")
    parser.add_argument("--prompt", help="what the added frames show, in plain English")


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of
    from cli.output.queued import print_queued

    with job_of(args) as job:
        print_queued(job.extend(args.frames, prompt=args.prompt).data, as_json=args.json)
    return 0
