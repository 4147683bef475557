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
    from cli.commands.api import add_url_argument

    parser.add_argument("job", help="id of the job")
    parser.add_argument("frames", type=int, help="how many frames are added")
    parser.add_argument("--prompt", help="what the added frames show, in plain English")
    add_url_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import api_client
    from cli.output.queued import print_queued

    with api_client(args.url) as client:
        print_queued(client.extend_job(args.job, args.frames, prompt=args.prompt))
    return 0
