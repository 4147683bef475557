"""Rebuilding a job's log and webhooks from its record and its chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from operator import itemgetter

from core.service.domain.ports import Delivery
from core.service.domain.schema import (
    VARIANTS,
    ChunkLists,
    ChunkRecord,
    ChunkTotals,
    EndedGeneration,
    EventType,
    JobError,
    JobRecord,
    JobStatus,
    Lane,
    LaneState,
    Measurement,
    Variant,
)
from core.service.domain.transitions.branches import totals_of_copies
from core.service.domain.transitions.events import KEPT_EVENTS, deliveries_for, has_webhook, new_event
from core.service.domain.transitions.length import at_entry
from core.service.domain.transitions.transition import ChunkWrite, Transition, finalizing_if_made, updated
from core.service.domain.webhooks import CHUNK_EVENTS, KEPT_PENDING

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
    whole = _with_beside(_history(record, lists), record)
    past = [
        (at_entry(state, event, number, record.length_changes), event, at)
        for number, (state, event, at) in enumerate(whole, 1)
    ]
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
    """Of those of chunks the newest KEPT_PENDING."""
    with_webhook = (entry for entry in past if has_webhook(entry[0], entry[1]))
    waiting = [*islice(with_webhook, webhooks_ended, None)]
    too_many = sum(event in CHUNK_EVENTS for _, event, _ in waiting) - KEPT_PENDING
    for state, event, at in waiting:
        too_many -= event in CHUNK_EVENTS
        if too_many < 0 or event not in CHUNK_EVENTS:
            yield from deliveries_for(state, event, at)


@dataclass(frozen=True)
class _Run:
    """One generation of a job, as far as its record tells. `version` and `error` are those at its end."""

    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    status: JobStatus
    version: int
    error: JobError | None


def _runs(record: JobRecord) -> Iterator[_Run]:
    queued_at = record.created_at
    for past in record.earlier:
        yield _Run(queued_at, past.started_at, past.ended_at, past.status, past.version, past.error)
        queued_at = past.next_at
    yield _Run(queued_at, record.begun_at, record.finished_at, record.status, record.version, record.error)


def _history(record: JobRecord, lists: ChunkLists) -> Iterator[_HistoryEntry]:
    """The events that led to `record`, as far as it and its chunks show."""
    nothing = ChunkTotals()
    now = updated(record, version=0, chunks=nothing, refined=nothing)
    copies = lists.preview[: record.branched_from.from_chunk] if record.branched_from else ()
    commits = _commits(record, ChunkLists(lists.preview[len(copies) :], lists.refined))
    for number, run in enumerate(_runs(record)):
        now = updated(now, status=JobStatus.QUEUED, earlier=record.earlier[:number], error=None)
        yield now, EventType.JOB_QUEUED, run.queued_at
        if copies and not now.chunks.count:
            now = updated(now, chunks=totals_of_copies(copies))
        if run.started_at is not None:
            now = updated(now, status=JobStatus.RUNNING)
            yield now, EventType.JOB_STARTED, run.started_at
            own = [commit for commit in commits if number == record.generation or _is_of(run, commit)]
            del commits[: len(own)]
            for past, event, at in _commit_history(now, own, run):
                now = past
                yield past, event, at
        if run.ended_at is not None:
            now = updated(now, status=run.status, version=run.version, error=run.error)
            yield (record if number == record.generation else now), EventType(f"job.{run.status}"), run.ended_at


def _is_of(run: _Run, commit: _Commit) -> bool:
    """Whether a commit was made before the end of an ended run."""
    _, chunk = commit
    if chunk.version is not None:
        return chunk.version <= run.version
    return run.ended_at is not None and chunk.created_at <= run.ended_at


def _with_beside(past: Iterable[_HistoryEntry], record: JobRecord) -> list[_HistoryEntry]:
    """The history with the changes of the prompt and the measurements, each at the number that its entry had, or at its
    time if that is not known."""
    whole = list(past)
    beside: list[tuple[int, EventType, datetime, dict[str, object]]] = [
        *(
            (change.entry, EventType.JOB_PROMPT_CHANGED, change.at, {"steering": record.steering[:index]})
            for index, change in enumerate(record.steering, 1)
        ),
        *(
            (
                _entry_of(one, index, whole),
                EventType.JOB_MEASURED,
                one.at,
                {"measurements": record.measurements[:index]},
            )
            for index, one in enumerate(record.measurements, 1)
        ),
    ]
    for entry, event, at, changes in sorted(beside, key=itemgetter(0)):
        place = min(entry - 1, len(whole))
        whole.insert(place, (updated(whole[place - 1][0], **changes), event, at))
    return whole


def _entry_of(one: Measurement, index: int, whole: Sequence[_HistoryEntry]) -> int:
    """Number in the log of the `index`-th measurement, from 1. If an older version did not count the entries it comes
    after all events until its time, and the measurements before."""
    return one.entry or max(1, sum(at <= one.at for _, _, at in whole)) + index


def _commits(record: JobRecord, lists: ChunkLists) -> list[_Commit]:
    """All commits in order; by creation time if an older version made some of them. Also of short chunks that were
    completed later."""
    commits: list[_Commit] = [(variant, chunk) for variant in VARIANTS for chunk in lists.of(variant)]
    commits += [commit for past in record.earlier for commit in _replaced(past)]
    known = all(chunk.version is not None for _, chunk in commits)
    return sorted(commits, key=_by_version if known else _by_time)


def _replaced(past: EndedGeneration) -> Iterator[_Commit]:
    """The short chunks with which a generation ended."""
    if past.replaced is not None:
        yield "preview", past.replaced
    if past.replaced_refined is not None:
        yield "refined", past.replaced_refined


def _commit_history(started: JobRecord, commits: list[_Commit], run: _Run) -> Iterator[_HistoryEntry]:
    """One event per chunk and refined chunk. The last one of a run that has succeeded was made with nothing left."""
    past = started
    for number, (variant, chunk) in enumerate(commits, 1):
        field, event = _FIELDS[variant]
        version = past.version + 1 if chunk.version is None else chunk.version
        past = updated(past, version=version, **{field: past.totals(variant).with_new(chunk)})
        if number == len(commits):
            succeeded = run.status is JobStatus.SUCCEEDED
            past = updated(past, status=JobStatus.FINALIZING) if succeeded else finalizing_if_made(past)
        yield past, event, chunk.created_at


_FIELDS = {"preview": ("chunks", EventType.CHUNK_COMPLETED), "refined": ("refined", EventType.CHUNK_REFINED)}


def _by_version(commit: _Commit) -> int:
    return commit[1].version or 0


def _by_time(commit: _Commit) -> datetime:
    return commit[1].created_at
