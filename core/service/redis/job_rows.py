"""The keys and index entries of a job in Redis: what a transition writes, and what a purge removes.

Only queues commands into a pipeline that the caller executes (transaction.Transactions).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import redis
from pydantic import ValidationError
from redis.client import Pipeline

from core.service.domain import transitions
from core.service.domain.errors import StoreDamaged
from core.service.domain.ports import Delivery
from core.service.domain.schema import ChunkLists, JobRecord, JobStatus, Lane, read_record, record_text
from core.service.domain.transitions import KEPT_EVENTS, NewEvent, Transition
from core.service.domain.webhooks import CHUNK_EVENTS, KEPT_PENDING
from core.service.records.job_order import index_member
from core.service.redis import chunk_lists, keys, schedule, usage
from core.service.redis.event_log import event_fields
from core.service.redis.schedule import Now
from core.service.redis.transaction import APPEND_EVENT, BOUND_WEBHOOKS, call

DUE_AT_ONCE_SECONDS = 1e9
"""New webhooks are due this long ago, so that clock differences do not delay them."""
NO_CHUNKS = ChunkLists()
RESTING = "rests"
"""Value of the lease key while the lane cannot be claimed."""

log = logging.getLogger(__name__)


def parse_row(job_id: str, row: str) -> tuple[JobRecord, ChunkLists]:
    """The record in a row, and the chunks inside it if an older version wrote it. Raises StoreDamaged if this version
    cannot read it."""
    try:
        return read_record(row)
    except ValidationError as error:
        raise StoreDamaged(f"the record of {job_id} cannot be read: {error.error_count()} errors in it") from error


def digest_of(row: str) -> str:
    """A short text that is another one for any other row."""
    return hashlib.sha256(row.encode()).hexdigest()[:32]


def readable(rows: Iterable[tuple[str, str | None]]) -> Sequence[JobRecord]:
    """The records of (job id, row) pairs. Missing rows are skipped; unreadable ones are logged and skipped."""
    found = list[JobRecord]()
    for job_id, row in rows:
        try:
            found += [] if row is None else [parse_row(job_id, row)[0]]
        except StoreDamaged as error:
            log.error("%s; left out", error)
    return found


def write(
    pipe: Pipeline, before: JobRecord | None, transition: Transition, now: Now, inside: ChunkLists = NO_CHUNKS
) -> None:
    """Queue all writes of a transition. `inside`: the chunks that were in the record until now."""
    record = transition.record
    pipe.hset(keys.job_key(record.id), mapping=_fields(record))
    chunk_lists.write(pipe, before, transition, inside)
    _append_events(pipe, record, transition.events)
    for delivery in transition.deliveries:
        _write_delivery(pipe, delivery)
    if transition.cleared_progress:
        pipe.delete(*(keys.progress_key(record.id, lane) for lane in transition.cleared_progress))
    if transition.is_commit:
        pipe.incr(keys.COMMITS)
    _free_lane(pipe, transition)
    _write_indexes(pipe, before, record)
    schedule.write(pipe, before, transition, now)
    usage.write(pipe, before, record)
    if before is None:
        pipe.zrem(keys.UNFINISHED_CREATES, record.id)
    if record.status.is_terminal and not (before and before.status.is_terminal):
        pipe.sadd(keys.CLEANUP_PENDING, record.id)
    if before and before.status.is_terminal and not record.status.is_terminal:
        pipe.srem(keys.CLEANUP_PENDING, record.id)
    if transition.tombstone_until is not None:
        pipe.zadd(keys.TOMBSTONES, {record.id: transition.tombstone_until.timestamp()})
    if record.revision != (before.revision if before else 0):
        pipe.zadd(keys.STALE_MANIFESTS, {record.id: record.revision})


def _fields(record: JobRecord) -> dict[Any, Any]:
    """Fields of the job hash: the record, and values that are read without parsing it."""
    row = record_text(record)
    return {
        "record": row,
        "digest": digest_of(row),
        "place": schedule.place_text(record) if schedule.is_queued(record) else "",
        "stop": "1" if transitions.should_stop(record) else "0",
        "revision": str(record.revision),
    }


def _append_events(pipe: Pipeline, record: JobRecord, events: Sequence[NewEvent]) -> None:
    first = None if record.num_events is None else record.num_events - len(events) + 1
    for offset, event in enumerate(events):
        event_id = "*" if first is None else f"{first + offset}-0"
        fields = [word for pair in event_fields(event).items() for word in pair]
        call(pipe, APPEND_EVENT, [keys.events_key(record.id)], KEPT_EVENTS, event_id, *fields)


def _free_lane(pipe: Pipeline, transition: Transition) -> None:
    if transition.revoked:
        pipe.delete(*(keys.lease_key(transition.record.id, lane) for lane in transition.revoked))
    if transition.released is None:
        return
    lease = keys.lease_key(transition.record.id, transition.released)
    if transition.rest_seconds > 0:
        pipe.set(lease, RESTING, px=round(transition.rest_seconds * 1000))
    else:
        pipe.delete(lease)


def _write_delivery(pipe: Pipeline, delivery: Delivery) -> None:
    pipe.hset(keys.deliveries_key(delivery.job_id), delivery.id, delivery.model_dump_json())
    # Due at once even if the clocks of this machine and of Redis differ; deliveries keep their order.
    due = delivery.created_at.timestamp() - DUE_AT_ONCE_SECONDS
    pipe.zadd(keys.OUTBOX_DUE, {keys.outbox_member(delivery.job_id, delivery.id): due})
    pipe.zadd(keys.unsent_key(delivery.job_id), {delivery.id: delivery.order[0]})
    if delivery.event_type in CHUNK_EVENTS:
        of_job = (keys.unsent_key, keys.deliveries_key, keys.job_key)
        named = [keys.OUTBOX_DUE, *(key(delivery.job_id) for key in of_job)]
        call(pipe, BOUND_WEBHOOKS, named, delivery.job_id, KEPT_PENDING)


def _write_indexes(pipe: Pipeline, before: JobRecord | None, after: JobRecord) -> None:
    member = index_member(after)
    old, new = _indexes(before), _indexes(after)
    for index in sorted(old.keys() - new.keys()):
        pipe.zrem(index, member)
    for index in sorted(new.keys()):
        if old.get(index) != new[index]:
            pipe.zadd(index, {member: new[index]})
    if after.expires_at is None or after.delete_requested:
        pipe.zrem(keys.EXPIRY, member)
    else:
        pipe.zadd(keys.EXPIRY, {member: after.expires_at.timestamp()})


def write_queue_entries(pipe: Pipeline, record: JobRecord, now: Now) -> None:
    """Add a job of an older version to its queues and to the stale manifests: that version wrote neither."""
    pipe.zadd(keys.STALE_MANIFESTS, {record.id: record.revision})
    correct_queue_entries(pipe, record, now)


def correct_queue_entries(pipe: Pipeline, record: JobRecord, now: Now) -> None:
    """Add a job to the queues that it belongs to, with their indexes, and remove it from the others."""
    schedule.write_again(pipe, record, now)
    rightly = _indexes_of_work(record)
    for index in _INDEXES_OF_WORK:
        if index in rightly:
            pipe.zadd(index, {index_member(record): 0})
        else:
            pipe.zrem(index, index_member(record))


def _indexes(record: JobRecord | None) -> dict[str, int]:
    """Indexes that list a record, and its scores: 0 in those that are ordered by age alone."""
    if record is None:
        return {}
    if record.delete_requested:
        return {keys.DELETED_JOBS: 0}
    listed = [keys.ALL_JOBS, keys.status_index(record.status)]
    if record.owner is not None:
        listed += [keys.jobs_index(record.owner, None), keys.jobs_index(record.owner, record.status)]
    if transitions.is_prepared_ahead(record):
        listed.append(keys.prepared_index(record.spec.model))
    listed += _indexes_of_work(record)
    scores = dict.fromkeys(listed, 0)
    if record.status is JobStatus.QUEUED:
        scores[keys.queue_index(record.spec.model)] = keys.class_score(record.spec.priority)
    return scores


def _indexes_of_work(record: JobRecord) -> list[str]:
    """Those of _INDEXES_OF_WORK that list a record: JobCleanup.reindex compares them with what else is stored."""
    if record.delete_requested:
        return []
    listed = list[str]()
    if any(transitions.wants(record, lane) for lane in Lane if lane is not Lane.MEASURE):
        listed.append(keys.SCHEDULED_JOBS)
    if transitions.awaits_measuring(record):
        listed.append(keys.AWAITING_MEASURING)
    elif record.spec.measure and not record.status.is_terminal:
        listed.append(keys.MEASURED_LATER)
    return listed


_INDEXES_OF_WORK = (keys.SCHEDULED_JOBS, keys.MEASURED_LATER, keys.AWAITING_MEASURING)


def remove(pipe: Pipeline, job_id: str, record: JobRecord | None, deliveries: Iterable[str], now: Now) -> None:
    """Queue the removal of every key and index entry of a job."""
    of_lanes = [key(job_id, lane) for lane in Lane for key in (keys.lease_key, keys.progress_key)]
    of_webhooks = [keys.deliveries_key(job_id), keys.unsent_key(job_id), keys.ended_deliveries_key(job_id)]
    of_webhooks.append(keys.held_delivery_key(job_id))
    pipe.delete(keys.job_key(job_id), keys.events_key(job_id), *of_webhooks, *chunk_lists.keys_of(job_id), *of_lanes)
    pipe.zrem(keys.STALE_MANIFESTS, job_id)
    pipe.srem(keys.CLEANUP_PENDING, job_id)
    for delivery_id in deliveries:
        pipe.zrem(keys.OUTBOX_DUE, keys.outbox_member(job_id, delivery_id))
    if record is not None:
        usage.remove(pipe, record)
        schedule.remove(pipe, record, now)
        for index in sorted({*_indexes(record), *_indexes_of_any_version(record)}):
            pipe.zrem(index, index_member(record))


def _indexes_of_any_version(record: JobRecord) -> Iterator[str]:
    """Where a record may be listed: an older version, which knows no owners and measures nothing, may have changed it
    without updating these."""
    yield from (keys.EXPIRY, *_INDEXES_OF_WORK, keys.prepared_index(record.spec.model))
    if record.owner is not None:
        yield from (keys.jobs_index(record.owner, status) for status in (None, *JobStatus))


def read_row(client: redis.Redis, job_id: str) -> str | None:
    return cast("str | None", client.hget(keys.job_key(job_id), "record"))
