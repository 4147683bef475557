"""Lists of jobs, their progress and their places in the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from redis.exceptions import NoScriptError

from core.service.domain import transitions
from core.service.domain.errors import JobNotFound, StoreDamaged
from core.service.domain.ports import JobPage, LiveStatus, Look
from core.service.domain.schema import (
    LANES_WITH_STEPS,
    ChunkRecord,
    JobRecord,
    JobStatus,
    Lane,
    StepProgress,
    Variant,
    record_text,
)
from core.service.records.job_order import cursor_from_member, member_from_cursor
from core.service.redis import job_scripts as scripts
from core.service.redis import keys
from core.service.redis.chunk_lists import parse_chunks
from core.service.redis.errors import raises_store_errors
from core.service.redis.event_log import StreamEntry, progress_fields, progress_from_fields
from core.service.redis.job_records import JobRecords, visible
from core.service.redis.job_rows import digest_of, parse_row

_Seen = tuple[Any, ...]
"""What scripts.LOOK returns of a job: digest or None, place or "", the field or None, a report or "" of each lane."""


class JobQueries(JobRecords):
    """ports.JobStore: queries."""

    @raises_store_errors
    def list(
        self,
        *,
        owner: str | None = None,
        status: JobStatus | None = None,
        limit: int = 20,
        cursor: str | None = None,
        oldest_first: bool = False,
    ) -> JobPage:
        index = keys.jobs_index(owner, status)
        read, first, last = self._redis.zrevrangebylex, "+", "-"
        if oldest_first:
            read, first, last = self._redis.zrangebylex, "-", "+"
        start = first if cursor is None else f"({member_from_cursor(cursor)}"
        members = cast("list[str]", read(index, start, last, start=0, num=limit + 1))
        next_cursor = cursor_from_member(members[limit - 1]) if len(members) > limit else None
        # A version without owners changes the status of a job and not the indexes of its owner.
        listed = [record for record in self._records(members[:limit]) if status in {None, record.status}]
        return JobPage(listed, next_cursor)

    @raises_store_errors
    def active(self) -> Sequence[JobRecord]:
        with self._redis.pipeline(transaction=True) as pipe:
            for index in (*map(keys.status_index, transitions.ACTIVE_STATUSES), keys.DELETED_JOBS):
                pipe.zrange(index, 0, -1)
            found = cast("list[list[str]]", pipe.execute())
        return self._records(sorted(member for members in found for member in members))

    @raises_store_errors
    def count_active(self) -> int:
        with self._redis.pipeline(transaction=True) as pipe:
            for status in transitions.ACTIVE_STATUSES:
                pipe.zcard(keys.status_index(status))
            return sum(cast("list[int]", pipe.execute()))

    @raises_store_errors
    def live_statuses(self, records: Sequence[JobRecord]) -> Sequence[LiveStatus]:
        lanes = [(record, lane) for record in records for lane in transitions.lanes_with_progress(record)]
        queued = [record for record in records if record.status is JobStatus.QUEUED]
        *answers, found = self._progress_and_places(lanes, queued)
        steps = {
            (record.id, lane): _newest_progress(entries) for (record, lane), entries in zip(lanes, answers, strict=True)
        }
        places = {record.id: place for record, place in zip(queued, cast("list[str]", found), strict=True)}
        return [_live_status(record, steps, places.get(record.id, "")) for record in records]

    def _progress_and_places(self, lanes: Sequence[tuple[JobRecord, Lane]], queued: Sequence[JobRecord]) -> list[Any]:
        """The newest report of each lane, then the places of all that are queued."""
        while True:
            with self._redis.pipeline(transaction=False) as pipe:
                for record, lane in lanes:
                    pipe.xrevrange(keys.progress_key(record.id, lane), count=1)
                if queued:
                    pipe.evalsha(self._places.sha, len(queued), *(keys.job_key(record.id) for record in queued))
                try:
                    return pipe.execute() if queued else [*pipe.execute(), []]
                except NoScriptError:
                    self._redis.script_load(scripts.PLACES)

    @raises_store_errors
    def chunks(self, job_id: str, variant: Variant, start: int = 0, stop: int | None = None) -> Sequence[ChunkRecord]:
        if stop is not None and stop <= start:
            return []
        while True:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.hexists(keys.job_key(job_id), "digest")
                pipe.lrange(keys.chunks_key(job_id, variant), start, -1 if stop is None else stop - 1)
                has_lists, found = cast("tuple[bool, Sequence[str]]", pipe.execute())
            if has_lists:
                return parse_chunks(job_id, found)
            record, inside = self._stored(job_id)
            if len(inside.of(variant)) == record.totals(variant).count:
                return inside.of(variant)[start:stop]
            # Else the chunks have moved to their list since, or Redis had lost the job and it is rebuilt now.

    @raises_store_errors
    def look(self, job_id: str) -> Look:
        (seen,) = self.looks([job_id])
        return seen or self._look_closely(job_id)

    @raises_store_errors
    def looks(self, job_ids: Sequence[str]) -> Sequence[Look | None]:
        return [_look_of(job_id, found) for job_id, found in zip(job_ids, self._seen(job_ids, "record"), strict=True)]

    @raises_store_errors
    def marks(self, job_ids: Sequence[str]) -> Sequence[str | None]:
        return [_mark(found) for found in self._seen(job_ids, "digest")]

    def _look_closely(self, job_id: str) -> Look:
        """For a record of an older version, one that Redis has lost, or one that cannot be read."""
        record = self.get(job_id)
        (live,) = self.live_statuses([record])
        return Look(record, live, f"{digest_of(record_text(record))} {live!r}")

    def _seen(self, job_ids: Sequence[str], field: str) -> Sequence[_Seen]:
        """Answers of scripts.LOOK."""
        of_jobs = ((keys.job_key(each), *_progress_keys(each)) for each in job_ids)
        read = [key for of_job in of_jobs for key in of_job]
        return cast("Sequence[_Seen]", self._look(keys=read, args=[field, len(LANES_WITH_STEPS)]))

    @raises_store_errors
    def report_progress(self, job_id: str, progress: StepProgress) -> bool:
        ((field, value),) = progress_fields(progress).items()
        progress_key = keys.progress_key(job_id, progress.lane)
        return bool(self._report_progress(keys=[keys.job_key(job_id), progress_key], args=[field, value]))

    @raises_store_errors
    def cancel_requested(self, job_id: str) -> bool:
        return self._redis.hget(keys.job_key(job_id), "stop") != "0"


def _progress_keys(job_id: str) -> list[str]:
    return [keys.progress_key(job_id, lane) for lane in LANES_WITH_STEPS]


def _look_of(job_id: str, found: _Seen) -> Look | None:
    """None if the job is not there, deleted, or written by another version."""
    _, place, row, *reports = found
    if (mark := _mark(found)) is None or row is None:
        return None
    try:
        record = visible(parse_row(job_id, row)[0])
    except (JobNotFound, StoreDamaged):
        return None
    of_lanes = {(job_id, lane): _progress(text) for lane, text in zip(LANES_WITH_STEPS, reports, strict=True)}
    steps = {(job_id, lane): of_lanes[job_id, lane] for lane in transitions.lanes_with_progress(record)}
    return Look(record, _live_status(record, steps, place), mark)


def _mark(found: _Seen) -> str | None:
    digest, place, _, *reports = found
    return None if digest is None else " ".join((digest, place, *reports))


def _progress(report: str) -> StepProgress | None:
    return progress_from_fields({"progress": report}) if report else None


def _newest_progress(entries: Sequence[StreamEntry]) -> StepProgress | None:
    return progress_from_fields(entries[0][1]) if entries else None


def _live_status(record: JobRecord, steps: Mapping[tuple[str, Lane], StepProgress | None], place: str) -> LiveStatus:
    """`place`: position and expected wait in seconds, or "" once started."""
    reported = {lane: step for lane in Lane if (step := steps.get((record.id, lane))) is not None}
    if not place:
        return LiveStatus(reported)
    position, _, seconds = place.partition(" ")
    return LiveStatus(reported, int(position), float(seconds) if seconds else None)
