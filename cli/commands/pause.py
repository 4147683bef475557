"""`longtake pause`: workers begin nothing more, for maintenance."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.service.domain.ports import PauseTarget, WorkerStatus

NAME = "pause"
SUMMARY = "let workers begin nothing more, for maintenance"
DESCRIPTION = """\
Workers commit the chunk that they are making and begin nothing more: all of them, those of one model, or one. Jobs are
accepted as always and wait until `longtake resume`, also if workers or the API are started again meanwhile. Uses the
same LONGTAKE_ variables as workers."""
EXAMPLES = """\
examples:
  longtake pause                                everything
  longtake pause --model sprites                its generation and refinement
  longtake pause --worker sprites-0@gpu-1       one worker, also after its restart
  longtake pause --worker sprites-0-4711@gpu-1  one process, by its name in /readyz
  longtake pause --worker sprites-0@gpu-2 --force   although it does not run now
  longtake pause --list                         what is paused, and since when
"""
LONGEST_NAME = 253
"""Characters, as of host names."""
MOST_NAMED = 20
"""Names in a refusal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser, or_list=True)
    parser.add_argument("--force", action="store_true", help="also what is not known, as a worker that is down now")


def add_target_arguments(parser: argparse.ArgumentParser, *, or_list: bool = False) -> None:
    """The options that name what is paused, of which one may be given; none for everything. `or_list`: also --list,
    which is about all pauses."""
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--model", type=_name, metavar="NAME", help="only this model")
    target.add_argument("--worker", type=_name, metavar="NAME", help="only this worker, with or without process id")
    if or_list:
        target.add_argument("--list", action="store_true", help="only list all that is paused")


def _name(text: str) -> str:
    from core.service.domain.errors import shortened

    if not text or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{shortened(text)!r} is no name")
    if len(text) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"a name has {LONGEST_NAME} characters at most, and this one {len(text)}")
    return text


def target_of(args: argparse.Namespace) -> PauseTarget:
    """What the options name."""
    from core.service.domain.ports import PauseTarget

    return PauseTarget(model=args.model, worker=args.worker)


def check_target(target: PauseTarget, workers: Collection[WorkerStatus], presets: Iterable[str]) -> None:
    """Raises SetupError if the target names no model of these, and no worker: a typing error would pause nothing, and
    nobody would notice."""
    from core.service.domain.ports import names_of

    if target.worker is not None:
        known = {name for worker in workers for name in names_of(worker.name)}
        _check_name("worker", target.worker, known, "a worker that is down now")
    if target.model is not None:
        known = {*presets, *(worker.model for worker in workers if worker.model is not None)}
        _check_name("model", target.model, known, "a model that only other machines have")


def _check_name(kind: str, name: str, known: Collection[str], forced: str) -> None:
    from core.service.domain.errors import SetupError

    if name in known:
        return
    first = sorted(known)[:MOST_NAMED]
    more = f" and {len(known) - len(first)} more" if len(known) > len(first) else ""
    there_are = f"there are {', '.join(first)}{more}" if first else "there is none"
    raise SetupError(f"there is no {kind} {name}: {there_are}", fix=f"--force pauses it all the same, for {forced}")


def run(args: argparse.Namespace) -> int:
    from core.service.admission.catalog import Catalog
    from core.service.clock import SystemClock
    from core.service.redis.client import connect
    from core.service.redis.pauses import RedisPauses
    from core.service.redis.worker_registry import RedisWorkerRegistry
    from core.service.settings import read_settings

    settings = read_settings()
    records = connect(settings.redis_url)
    pauses = RedisPauses(records)
    if not args.list:
        target = target_of(args)
        if not args.force:
            check_target(target, RedisWorkerRegistry(records).all(), Catalog(settings).names())
        pauses.pause(target, SystemClock().now())
    paused = pauses.all()
    for target, since in paused.items():
        print(f"paused since {since:%Y-%m-%d %H:%M:%S} UTC: {target}")
    if not paused:
        print("nothing is paused")
    return 0
