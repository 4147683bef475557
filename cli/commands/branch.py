"""`longtake branch`: POST /jobs/{id}/branch from the command line."""

from __future__ import annotations

import argparse

from cli.commands.priorities import PRIORITIES

NAME = "branch"
SUMMARY = "begin a new job with the chunks of another one"
DESCRIPTION = """\
Queues a new job that shares the chunks of another one before a chunk, and goes on from there by itself."""
EXAMPLES = """\
examples:
  longtake branch job_k3mq5w7zr2ay4n6c5bqd 3 --prompt "a blue circle moving left over a striped background"
  longtake branch job_k3mq5w7zr2ay4n6c5bqd 3 --seed 8 --frames 96
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)
    parser.add_argument("from_chunk", type=int, help="the first chunk that is the new job's own, from 1 on")
    parser.add_argument("--prompt", help="what the video shows from there on, in plain English")
    parser.add_argument("--seed", type=int, help="another seed from there on")
    parser.add_argument("--frames", type=int, help="length of the whole video")
    parser.add_argument("--priority", choices=PRIORITIES, help="by default that of the source")


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of
    from cli.output.queued import print_queued

    with job_of(args) as job:
        changes = {"prompt": args.prompt, "seed": args.seed, "num_frames": args.frames, "priority": args.priority}
        branch = job.branch(args.from_chunk, **changes)
        print_queued(branch.data, as_json=args.json)
    return 0
