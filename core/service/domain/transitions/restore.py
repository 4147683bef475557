"""Rebuilding a job's log and webhooks from its record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from core.service.domain.schema import EventType, JobRecord, JobStatus, Lane, LaneState
from core.service.domain.transitions.events import deliveries_for, new_event
from core.service.domain.transitions.transition import Transition, finalizing_if_made, updated, with_event_count

TOKENS_SKIPPED_BY_RESTORE = 1_000_000
"""A worker that survived the loss of Redis may hold a newer token than the manifest's; restored lanes skip it."""


def restore(record: JobRecord) -> Transition:
    """Restore a job from its manifest. The log is rewritten with the same entry ids; webhooks that may not have been
    delivered are sent again under their ids; older tokens are fenced off."""
    lanes = {
        lane: LaneState(token=record.lane(lane).token + TOKENS_SKIPPED_BY_RESTORE, attempts=record.lane(lane).attempts)
        for lane in Lane
    }
    past = _history(record)
    rows = [row for state, event, at in past for row in deliveries_for(state, event, at)]
    events = tuple(new_event(state, event, at) for state, event, at in past)
    counted = updated(record, lanes={**record.lanes, **lanes}, num_events=0)
    return with_event_count(
        counted, Transition(counted, events=events, deliveries=tuple(rows[record.webhooks_ended :]))
    )


_HistoryEntry = tuple[JobRecord, EventType, datetime]
"""A job after an event, the event, and its time."""


def _history(record: JobRecord) -> list[_HistoryEntry]:
    """The events that led to `record`, as far as the record shows."""
    queued = updated(record, status=JobStatus.QUEUED, version=0, chunks=(), refined=(), error=None)
    past = [(queued, EventType.JOB_QUEUED, record.created_at)]
    if record.started_at is not None:
        started = updated(queued, status=JobStatus.RUNNING)
        past.append((started, EventType.JOB_STARTED, record.started_at))
        past += _commit_history(started, record)
    if record.finished_at is not None:
        past.append((record, EventType(f"job.{record.status}"), record.finished_at))
    return _with_steering(past, record)


def _with_steering(past: list[_HistoryEntry], record: JobRecord) -> list[_HistoryEntry]:
    """The history with the changes of the prompt, each at the number that its entry had."""
    told = list(past)
    for index, change in enumerate(record.steering, 1):
        place = min(change.entry - 1, len(told))
        before = updated(told[place - 1][0], steering=record.steering[:index])
        told.insert(place, (before, EventType.JOB_PROMPT_CHANGED, change.at))
    return told


def _commit_history(started: JobRecord, record: JobRecord) -> Iterator[_HistoryEntry]:
    """One event per chunk and refined chunk in commit order; by creation time if an older version made some of them."""
    of_lanes = (
        (EventType.CHUNK_COMPLETED, "chunks", record.chunks, record.chunk_versions),
        (EventType.CHUNK_REFINED, "refined", record.refined, record.refined_versions),
    )
    known = all(len(chunks) == len(versions) for _, _, chunks, versions in of_lanes)
    commits = [
        (version, chunk.created_at, event, field, chunk)
        for event, field, chunks, versions in of_lanes
        for chunk, version in zip(chunks, versions if known else [0] * len(chunks), strict=True)
    ]
    past, ordered = started, sorted(commits, key=lambda commit: commit[:2])
    for number, (version, at, event, field, chunk) in enumerate(ordered, 1):
        past = updated(past, version=version or past.version + 1, **{field: (*getattr(past, field), chunk)})
        yield finalizing_if_made(past) if number == len(ordered) else past, event, at
