"""The event log of a job in Redis: one stream per job, and beside it one-entry streams of its lanes' progress.

Reads only; job_store.py appends inside its transactions. Knows no HTTP: ids are Redis stream ids.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import redis
from pydantic import ValidationError

from core.service import redis_client as keys
from core.service.schema import LANES_WITH_STEPS, EventType, JobEvent, StepProgress
from core.service.transitions import NewEvent

BLOCK_SECONDS = 1.0
"""One blocking read; well below the socket timeout, so that waiting is never taken for a dead connection."""

_KNOWN_TYPES = frozenset(EventType)

StreamEntry = tuple[str, Mapping[str, str]]


def event_fields(event: NewEvent) -> dict[str, str]:
    """A log entry as stream fields."""
    return {"type": event.type.value, "at": event.at.isoformat(), "data": json.dumps(event.data)}


def progress_fields(progress: StepProgress) -> dict[str, str]:
    return {"progress": progress.model_dump_json()}


def progress_from_fields(fields: Mapping[str, str]) -> StepProgress | None:
    """None for what another version reported in a way that this one cannot read."""
    try:
        return StepProgress.model_validate_json(fields["progress"])
    except (ValidationError, KeyError):
        return None


class RedisEventLog:
    """ports.EventLog over Redis streams."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis

    @keys.names_errors
    def read(self, job_id: str, after: str = "0-0", limit: int = 1000) -> Sequence[JobEvent]:
        entries = self._redis.xrange(keys.events_key(job_id), min=f"({after}", count=limit)
        return [_event(job_id, entry) for entry in cast(list[StreamEntry], entries)]

    @keys.names_errors
    def follow(self, job_id: str, after: str, timeout_seconds: float) -> Sequence[JobEvent | StepProgress]:
        deadline = time.monotonic() + timeout_seconds
        progress_after = {
            key: self._newest_id(key) for key in (keys.progress_key(job_id, lane) for lane in LANES_WITH_STEPS)
        }
        while True:
            remaining = deadline - time.monotonic()
            found = self._wait(job_id, after, progress_after, min(remaining, BLOCK_SECONDS))
            if found or remaining <= BLOCK_SECONDS:
                return found

    def _wait(
        self, job_id: str, after: str, progress_after: Mapping[str, str], seconds: float
    ) -> list[JobEvent | StepProgress]:
        """One XREAD over all streams; at least 1 ms, for BLOCK 0 would wait for ever."""
        streams = {keys.events_key(job_id): after, **progress_after}
        answer = self._redis.xread(cast(Any, streams), block=max(1, round(seconds * 1000)))
        entries = dict(cast(Any, answer or ()))
        events = [_event(job_id, entry) for entry in entries.get(keys.events_key(job_id), ())]
        reports = [progress_from_fields(fields) for key in progress_after for _, fields in entries.get(key, ())]
        return [*events, *(report for report in reports if report is not None)]

    def _newest_id(self, key: str) -> str:
        newest = cast(list[StreamEntry], self._redis.xrevrange(key, count=1))
        return newest[0][0] if newest else "0-0"


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
    """A newer version may have logged what this one does not know."""
    return EventType(name) if name in _KNOWN_TYPES else name
