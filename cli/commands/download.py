"""`longtake download`: the final video of a job, from the command line."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

NAME = "download"
SUMMARY = "save the video of a job"
DESCRIPTION = """\
Saves the final MP4 of a job and prints its path. Follows a job that has not ended until it has. A connection that is
cut is taken up where it ended; the file appears only when it is complete. `longtake watch --out` also makes a contact
sheet."""
EXAMPLES = """\
examples:
  longtake download job_k3mq5w7zr2ay4n6c5bqd
  longtake download job_k3mq5w7zr2ay4n6c5bqd --out circle.mp4
  longtake download job_k3mq5w7zr2ay4n6c5bqd --variant refined
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cli.commands.api import add_job_arguments

    add_job_arguments(parser)
    parser.add_argument("--out", type=Path, help="file, or an existing folder (default: <job id>.mp4)")
    parser.add_argument(
        "--variant", choices=("preview", "refined"), default="preview", help="refined: in the higher resolution"
    )


def run(args: argparse.Namespace) -> int:
    from cli.commands.api import job_of
    from cli.output.byte_meter import byte_meter
    from cli.output.terminal import Screen

    with job_of(args) as job:
        if not job.has_ended:
            Screen(sys.stderr).show_job(job.follow(), partial(job.chunks, live=False))
        path = target_of(job.id, args.out, args.variant)
        with byte_meter(sys.stderr) as report:
            job.save(path, args.variant, partial(report, f"saving {path.name}"))
    print(job.data.model_dump_json() if args.json else path)
    return 0


def target_of(job_id: str, out: Path | None, variant: str) -> Path:
    """The file to write: `out`, or a name of its own in the folder `out` or the current one."""
    name = Path(f"{job_id}_refined.mp4" if variant == "refined" else f"{job_id}.mp4")
    if out is None:
        return name
    return out / name if out.is_dir() else out
