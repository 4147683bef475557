"""`longtake pause`: workers begin nothing more, for maintenance."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.service.domain.ports import PauseTarget

NAME = "pause"
SUMMARY = "let workers begin nothing more, for maintenance"
DESCRIPTION = """\
Workers commit the chunk that they are making and begin nothing more: all of them, those of one model, or one. Jobs are
accepted as always and wait until `longtake resume`, also if workers or the API are started again meanwhile. Uses the
same LONGTAKE_ variables as workers."""
EXAMPLES = """\
examples:
  longtake pause                                everything
  longtake pause --model streaming-t2v          its generation and refinement
  longtake pause --worker sprites-0@gpu-1       one worker, also after its restart
  longtake pause --worker sprites-0-4711@gpu-1  one process, by its name in /readyz
  longtake pause --list                         what is paused, and since when
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)
    parser.add_argument("--list", action="store_true", help="only list what is paused")


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name what is paused; nothing for everything."""
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--model", type=_name, metavar="NAME", help="only this model")
    target.add_argument("--worker", type=_name, metavar="NAME", help="only this worker, with or without process id")


def _name(text: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name")
    return text


def target_of(args: argparse.Namespace) -> PauseTarget:
    """What the options name."""
    from core.service.domain.ports import PauseTarget

    return PauseTarget(model=args.model, worker=args.worker)


def run(args: argparse.Namespace) -> int:
    from core.service.clock import SystemClock
    from core.service.redis.client import connect
    from core.service.redis.pauses import RedisPauses
    from core.service.settings import read_settings

    pauses = RedisPauses(connect(read_settings().redis_url))
    if not args.list:
        pauses.pause(target_of(args), SystemClock().now())
    paused = pauses.all()
    for target, since in paused.items():
        print(f"paused since {since:%Y-%m-%d %H:%M:%S} UTC: {target}")
    if not paused:
        print("nothing is paused")
    return 0
