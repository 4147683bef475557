"""Event logs of jobs as Redis streams: one per job, and one-entry streams with the progress of its lanes.

Reads only; the job store appends, inside its transactions. Event ids are Redis stream ids.

One XREAD follows any number of jobs. Measured on a slow 2-core machine: 3 keys (one job) cost the client 0.3 ms and
Redis 0.01 ms a call, 6,000 keys (2,000 jobs) 1.3 ms and 2.4 ms, so a reader of many jobs pauses between calls.
Publish/subscribe and keyspace notifications would cost less, but workers of another version do not publish, and managed
servers refuse CONFIG SET.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

import redis
from pydantic import ValidationError

from core.service.domain.ports import JobUpdates, LogPosition
from core.service.domain.schema import LANES_WITH_STEPS, EventType, JobEvent, StepProgress
from core.service.domain.transitions import NewEvent
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors

BLOCK_SECONDS = 1.0
"""Longest blocking read; well below the socket timeout, so that it is not taken for a dead connection."""
ENTRIES_AT_ONCE = 200
"""Entries of one job per read; a long log takes several reads."""
JOBS_AT_ONCE = 200
"""Jobs per pipeline, so that Redis can serve others between two."""
BEFORE_ALL = "0-0"

JOBS_REMEMBERED = 20_000
"""Size of the cache of encoded keys."""

_log = logging.getLogger(__name__)
_KNOWN_TYPES = frozenset(EventType)

StreamEntry = tuple[str, Mapping[str, str]]


def event_fields(event: NewEvent) -> dict[str, str]:
    """A log entry as stream fields."""
    return {"type": event.type.value, "at": event.at.isoformat(), "data": json.dumps(event.data)}


def progress_fields(progress: StepProgress) -> dict[str, str]:
    return {"progress": progress.model_dump_json()}


def progress_from_fields(fields: Mapping[str, str]) -> StepProgress | None:
    """None for a report that this version cannot read."""
    try:
        return StepProgress.model_validate_json(fields["progress"])
    except (ValidationError, KeyError):
        return None


class RedisEventLog:
    """ports.EventLog over Redis streams."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis

    @raises_store_errors
    def read(self, job_id: str, after: str = BEFORE_ALL, limit: int = 1000) -> Sequence[JobEvent]:
        while True:
            entries = cast(
                "list[StreamEntry]", self._redis.xrange(keys.events_key(job_id), min=f"({after}", count=limit)
            )
            events = _events(job_id, entries)
            if events or not entries:
                return events
            after = entries[-1][0]

    @raises_store_errors
    def newest(self, job_ids: Collection[str]) -> Mapping[str, LogPosition]:
        found, ordered = dict[str, LogPosition](), list(job_ids)
        for start in range(0, len(ordered), JOBS_AT_ONCE):
            found.update(self._newest_of(ordered[start : start + JOBS_AT_ONCE]))
        return found

    def _newest_of(self, job_ids: Sequence[str]) -> Mapping[str, LogPosition]:
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                for key in (keys.events_key(job_id), *(keys.progress_key(job_id, lane) for lane in LANES_WITH_STEPS)):
                    pipe.xrevrange(key, count=1)
            answers = iter(cast("list[list[StreamEntry]]", pipe.execute()))
        return {
            job_id: LogPosition(_last_id(next(answers)), " ".join(_last_id(next(answers)) for _ in LANES_WITH_STEPS))
            for job_id in job_ids
        }

    @raises_store_errors
    def follow(self, positions: Mapping[str, LogPosition], timeout_seconds: float) -> Sequence[JobUpdates]:
        if not positions:
            return []
        block = max(1, round(min(timeout_seconds, BLOCK_SECONDS) * 1000))  # 0 would block forever
        found = dict(_entries_of(self._ask(_packed_xread(positions, block))))
        hit = dict.fromkeys(keys.job_id_of(key) for key in found)
        return [_updates_of(job_id, positions[job_id], found) for job_id in hit]

    def _ask(self, command: bytes) -> Any:
        """Send an encoded command and return the raw answer."""
        pool: Any = self._redis.connection_pool
        connection = pool.get_connection()

        def ask() -> Any:
            connection.send_packed_command([command])
            return connection.read_response()

        def lost(_error: Exception) -> None:
            connection.disconnect()

        try:
            return connection.retry.call_with_retry(ask, lost)
        finally:
            pool.release(connection)

    @raises_store_errors
    def stopped(self, job_ids: Collection[str]) -> Sequence[str]:
        found, ordered = list[str](), list(job_ids)
        for start in range(0, len(ordered), JOBS_AT_ONCE):
            some = ordered[start : start + JOBS_AT_ONCE]
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in some:
                    pipe.hget(keys.job_key(job_id), "stop")
                flags = cast("list[str | None]", pipe.execute())
            found += [job_id for job_id, flag in zip(some, flags, strict=True) if flag != "0"]
        return found


def _last_id(newest: Sequence[StreamEntry]) -> str:
    return newest[0][0] if newest else BEFORE_ALL


def _packed_xread(positions: Mapping[str, LogPosition], block: int) -> bytes:
    """XREAD encoded as RESP. redis-py takes twenty times as long for thousands of keys; most keys and ids are the same
    in every call and come from a cache."""
    num_keys = len(positions) * (1 + len(LANES_WITH_STEPS))
    words = ("XREAD", "COUNT", str(ENTRIES_AT_ONCE), "BLOCK", str(block), "STREAMS")
    return b"".join((
        f"*{len(words) + 2 * num_keys}\r\n".encode(),
        *map(_packed, words),
        *map(_packed_keys, positions),
        *(_packed_ids(position.event, position.reports) for position in positions.values()),
    ))  # fmt: skip


def _packed(word: str) -> bytes:
    data = word.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


@lru_cache(JOBS_REMEMBERED)
def _packed_keys(job_id: str) -> bytes:
    of_lanes = (keys.progress_key(job_id, lane) for lane in LANES_WITH_STEPS)
    return b"".join(map(_packed, (keys.events_key(job_id), *of_lanes)))


@lru_cache(JOBS_REMEMBERED)
def _packed_ids(event: str, reports: str) -> bytes:
    return b"".join(map(_packed, (event, *reports.split(" "))))


def _entries_of(answer: Any) -> Iterator[tuple[str, list[StreamEntry]]]:
    """Entries by key, from an answer of RESP2 or RESP3."""
    by_key = answer.items() if isinstance(answer, dict) else answer or ()
    for key, entries in cast("Iterable[tuple[str, list[tuple[str, list[str]]]]]", by_key):
        yield key, [(entry_id, dict(zip(words[::2], words[1::2], strict=True))) for entry_id, words in entries]


def _updates_of(job_id: str, position: LogPosition, found: Mapping[str, Sequence[StreamEntry]]) -> JobUpdates:
    """Updates of one job in the answer to an XREAD."""
    entries = found.get(keys.events_key(job_id), ())
    of_lanes = [found.get(keys.progress_key(job_id, lane), ()) for lane in LANES_WITH_STEPS]
    reports = [progress_from_fields(of_lane[-1][1]) for of_lane in of_lanes if of_lane]
    before = position.reports.split(" ")
    after = [of_lane[-1][0] if of_lane else old for of_lane, old in zip(of_lanes, before, strict=True)]
    return JobUpdates(
        job_id,
        _events(job_id, entries),
        [report for report in reports if report is not None],
        LogPosition(entries[-1][0] if entries else position.event, " ".join(after)),
    )


def _events(job_id: str, entries: Iterable[StreamEntry]) -> list[JobEvent]:
    """The readable entries; an unreadable one is logged and skipped."""
    found = list[JobEvent]()
    for entry in entries:
        try:
            found.append(_event(job_id, entry))
        except (KeyError, ValueError) as error:
            _log.error("event %s of %s cannot be read and is left out: %r", entry[0], job_id, error)
    return found


def _event(job_id: str, entry: StreamEntry) -> JobEvent:
    event_id, fields = entry
    return JobEvent(
        id=event_id,
        type=_type(fields["type"]),
        job_id=job_id,
        at=datetime.fromisoformat(fields["at"]),
        data=json.loads(fields["data"]),
    )


def _type(name: str) -> EventType | str:
    """An EventType, or the name itself if a newer version logged it."""
    return EventType(name) if name in _KNOWN_TYPES else name
