"""`longtake steer`: PATCH /jobs/{id} from the command line."""

from __future__ import annotations

import argparse
import sys

from cli.commands.priorities import PRIORITIES

NAME = "steer"
SUMMARY = "change the prompt, the length or the priority of a running job"
DESCRIPTION = """\
Gives a job that has not ended a new prompt, and prints the frame from which it acts: the first of the next chunk
that no worker has begun. Or gives it another length: so a video without end gets one. Or another priority."""
EXAMPLES = """\
examples:
  longtake steer job_k3mq5w7zr2ay4n6c5bqd "a blue circle moving left over a striped background"
  longtake steer job_k3mq5w7zr2ay4n6c5bqd "a blue circle moving left over a striped background" --from-frame 96
  longtake steer job_k3mq5w7zr2ay4n6c5bqd --frames 480
  longtake steer job_k3mq5w7zr2ay4n6c5bqd --priority high
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)
    parser.add_argument("prompt", nargs="?", help="what the video shows from there on, in plain English")
    parser.add_argument("--from-frame", type=int, help="act from this frame; it must not be made or begun yet")
    parser.add_argument("--frames", type=int, help="new length of the whole video")
    parser.add_argument("--priority", choices=PRIORITIES, help="another priority, also of a job that is queued")


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of
    from cli.output.job_diff import warning_line
    from client.calls.jobs import UNCHANGED

    num_frames = UNCHANGED if args.frames is None else args.frames
    with job_of(args) as job:
        changed = job.steer(args.prompt, args.from_frame, num_frames=num_frames, priority=args.priority)
    if args.json:
        print(changed.model_dump_json())
        return 0
    if changed.acts_from_frame is not None:
        print(f"acts from frame {changed.acts_from_frame}")
    if args.frames is not None:
        print(f"ends after {args.frames} frames")
    if args.priority is not None:
        print(f"has the priority {changed.request.priority}")
    for warning in changed.warnings:
        print(f"warning: {warning_line(warning)}", file=sys.stderr)
    return 0
