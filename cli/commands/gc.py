"""`longtake gc`: finds and removes what is stored and belongs to nobody."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.service.domain.ports import JobStore
    from core.service.records.orphans import Orphan

NAME = "gc"
SUMMARY = "find and remove objects and keys that belong to no job"
DESCRIPTION = """\
Lists objects in the bucket that no job or upload needs, and keys in Redis of jobs without a record, and removes them.
Normally there are none: a crash in the wrong moment may leave some. Looks twice, a few seconds apart, and takes only
what was there both times, so that it can run beside a busy service. Uses the same LONGTAKE_ variables as workers."""
EXAMPLES = """\
examples:
  longtake gc --dry-run      only list; exit code 1 where there is something
  longtake gc
"""
PAUSE_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="list, remove nothing; exit code 1 where something is")


def run(args: argparse.Namespace) -> int:
    from core.service.clock import SystemClock
    from core.service.records.orphans import find_orphans, remove
    from core.service.redis.client import connect
    from core.service.redis.job_store import RedisJobStore
    from core.service.redis.upload_store import RedisUploadStore
    from core.service.s3.storage import S3Storage
    from core.service.settings import read_settings

    settings = read_settings()
    records, storage = connect(settings.redis_url), S3Storage(settings)
    store = RedisJobStore(records, SystemClock(), retention_seconds=settings.retention_seconds)
    _require_whole(store)
    found = seen_twice(lambda: find_orphans(store, storage, RedisUploadStore(records)), PAUSE_SECONDS)
    _require_whole(store)  # a Redis that was lost meanwhile has made everything seem to belong to nobody
    for orphan in found:
        print(f"{orphan.name}: {orphan.reason}")
        if not args.dry_run:
            remove(orphan, store, storage)
    print(f"{len(found)} {'found' if args.dry_run else 'removed'}")
    return 1 if found and args.dry_run else 0


def _require_whole(store: JobStore) -> None:
    """Raises SetupError where Redis has lost the records: then everything would seem to belong to nobody."""
    from core.service.domain.errors import SetupError

    if not store.has_all_records():
        raise SetupError(
            "Redis holds no records yet, or has lost them",
            fix="start a CPU worker, whose janitor rebuilds them, and try again",
        )


def seen_twice(look: Callable[[], Iterable[Orphan]], pause_seconds: float) -> list[Orphan]:
    """What belongs to nobody now and a few seconds later: what is just being made soon belongs to somebody."""
    import time

    first = {*look()}
    if not first:
        return []
    time.sleep(pause_seconds)
    return [orphan for orphan in look() if orphan in first]
