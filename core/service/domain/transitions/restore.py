"""Rebuilding a job's log and webhooks from its record and its chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from core.service.domain.ports import Delivery
from core.service.domain.schema import (
    VARIANTS,
    ChunkLists,
    ChunkRecord,
    ChunkTotals,
    EventType,
    JobRecord,
    JobStatus,
    Lane,
    LaneState,
    Variant,
)
from core.service.domain.transitions.events import KEPT_EVENTS, deliveries_for, has_webhook, new_event
from core.service.domain.transitions.length import at_entry
from core.service.domain.transitions.transition import ChunkWrite, Transition, finalizing_if_made, updated

TOKENS_SKIPPED_BY_RESTORE = 1_000_000
"""A worker that survived the loss of Redis may hold a newer token than the manifest's; restored lanes skip it."""


def restore(record: JobRecord, lists: ChunkLists) -> Transition:
    """Restore a job from its manifest, with the chunks that its totals count. The newest KEPT_EVENTS entries of the log
    are rewritten with the same ids; webhooks that may not have been delivered are sent again under their ids; older
    tokens are fenced off."""
    lanes = {
        lane: LaneState(token=record.lane(lane).token + TOKENS_SKIPPED_BY_RESTORE, attempts=record.lane(lane).attempts)
        for lane in Lane
    }
    whole = _with_steering(_history(record, lists), record)
    past = [(at_entry(state, n, record.length_changes), event, at) for n, (state, event, at) in enumerate(whole, 1)]
    return Transition(
        updated(record, lanes={**record.lanes, **lanes}, num_events=len(past)),
        events=tuple(new_event(state, event, at) for state, event, at in past[-KEPT_EVENTS:]),
        deliveries=tuple(_undelivered(past, record.webhooks_ended)),
        chunks=tuple(ChunkWrite(variant, chunk) for variant in VARIANTS for chunk in lists.of(variant)),
    )


_HistoryEntry = tuple[JobRecord, EventType, datetime]
"""A job after an event, the event, and its time."""


_Commit = tuple[Variant, ChunkRecord]


def _undelivered(past: list[_HistoryEntry], webhooks_ended: int) -> Iterator[Delivery]:
    with_webhook = (entry for entry in past if has_webhook(entry[0], entry[1]))
    for state, event, at in islice(with_webhook, webhooks_ended, None):
        yield from deliveries_for(state, event, at)


def _history(record: JobRecord, lists: ChunkLists) -> Iterator[_HistoryEntry]:
    """The events that led to `record`, as far as it and its chunks show."""
    nothing = ChunkTotals()
    queued = updated(record, status=JobStatus.QUEUED, version=0, chunks=nothing, refined=nothing, error=None)
    yield queued, EventType.JOB_QUEUED, record.created_at
    if record.started_at is not None:
        started = updated(queued, status=JobStatus.RUNNING)
        yield started, EventType.JOB_STARTED, record.started_at
        yield from _commit_history(started, lists)
    if record.finished_at is not None:
        yield record, EventType(f"job.{record.status}"), record.finished_at


def _with_steering(past: Iterable[_HistoryEntry], record: JobRecord) -> list[_HistoryEntry]:
    """The history with the changes of the prompt, each at the number that its entry had."""
    whole = list(past)
    for index, change in enumerate(record.steering, 1):
        place = min(change.entry - 1, len(whole))
        before = updated(whole[place - 1][0], steering=record.steering[:index])
        whole.insert(place, (before, EventType.JOB_PROMPT_CHANGED, change.at))
    return whole


def _commit_history(started: JobRecord, lists: ChunkLists) -> Iterator[_HistoryEntry]:
    """One event per chunk and refined chunk in commit order; by creation time if an older version made some of them."""
    commits: list[tuple[Variant, ChunkRecord]] = [
        (variant, chunk) for variant in VARIANTS for chunk in lists.of(variant)
    ]
    known = all(chunk.version is not None for _, chunk in commits)
    past, ordered = started, sorted(commits, key=_by_version if known else _by_time)
    for number, (variant, chunk) in enumerate(ordered, 1):
        totals = past.totals(variant).followed_by(chunk)
        field, event = _FIELDS[variant]
        past = updated(past, version=(known and chunk.version) or past.version + 1, **{field: totals})
        yield finalizing_if_made(past) if number == len(ordered) else past, event, chunk.created_at


_FIELDS = {"preview": ("chunks", EventType.CHUNK_COMPLETED), "refined": ("refined", EventType.CHUNK_REFINED)}


def _by_version(commit: _Commit) -> int:
    return commit[1].version or 0


def _by_time(commit: _Commit) -> datetime:
    return commit[1].created_at
