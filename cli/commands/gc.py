"""`longtake gc`: finds and removes stored objects and keys that belong to no job."""

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
Normally there are none; a crash at the wrong moment can leave some. Scans twice, a few seconds apart, and takes only
what both scans found, so it can run beside a busy service. Uses the same LONGTAKE_ variables as workers."""
EXAMPLES = """\
examples:
  longtake gc --dry-run      only list; exit code 1 if there is something
  longtake gc
"""
PAUSE_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only list; exit code 1 if something is found")


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
    found = in_both_scans(lambda: find_orphans(store, storage, RedisUploadStore(records)), PAUSE_SECONDS)
    _require_whole(store)  # if Redis lost its records meanwhile, everything looks orphaned
    for orphan in found:
        print(f"{orphan.name}: {orphan.reason}")
        if not args.dry_run:
            remove(orphan, store, storage)
    print(f"{len(found)} {'found' if args.dry_run else 'removed'}")
    return 1 if found and args.dry_run else 0


def _require_whole(store: JobStore) -> None:
    """Raises SetupError if Redis has lost its records: then every object would look orphaned."""
    from core.service.domain.errors import SetupError

    if not store.has_all_records():
        raise SetupError(
            "Redis holds no records yet, or has lost them",
            fix="start a CPU worker, whose janitor rebuilds them, and try again",
        )


def in_both_scans(scan: Callable[[], Iterable[Orphan]], pause_seconds: float) -> list[Orphan]:
    """Orphans that two scans find: an object just being stored is an orphan in the first only."""
    import time

    first = {*scan()}
    if not first:
        return []
    time.sleep(pause_seconds)
    return [orphan for orphan in scan() if orphan in first]
