"""`longtake resume`: workers go on after `longtake pause`."""

from __future__ import annotations

import argparse

from cli.commands.pause import add_target_arguments, target_of

NAME = "resume"
SUMMARY = "let workers go on after `longtake pause`"
DESCRIPTION = """\
Ends one pause, named with the same option as when it began, and wakes the workers at once. Other pauses stay: a model
that was paused by itself stays paused when everything is resumed. Uses the same LONGTAKE_ variables as workers."""
EXAMPLES = """\
examples:
  longtake resume                               after `longtake pause`
  longtake resume --model sprites               after `longtake pause --model sprites`
  longtake pause --list                         what is paused
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 if it was not paused."""
    from core.service.clock import SystemClock
    from core.service.records.wake import wake_for_all
    from core.service.redis.client import connect
    from core.service.redis.job_store import RedisJobStore
    from core.service.redis.pauses import RedisPauses
    from core.service.redis.queue import CeleryTaskQueue, make_celery_app
    from core.service.redis.urls import BROKER
    from core.service.settings import read_settings

    settings, target = read_settings(), target_of(args)
    records = connect(settings.redis_url)
    pauses = RedisPauses(records)
    was_paused = pauses.resume(target)
    store = RedisJobStore(records, SystemClock(), retention_seconds=settings.retention_seconds)
    wake_for_all(store, CeleryTaskQueue(make_celery_app(settings), connect(settings.broker_url, setting=BROKER)))
    print(f"resumed: {target}" if was_paused else f"{target} was not paused")
    for other in pauses.all():
        print(f"still paused: {other}")
    return 0 if was_paused else 1
