"""ports.JobStore in memory. It applies the same transitions as the Redis store and passes the same contract tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from core.service.domain import transitions
from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import JobNotFound, JobStateConflict
from core.service.domain.manifest import ChunkPage
from core.service.domain.places import Backlog, position, wait_seconds
from core.service.domain.ports import JobCounts, JobPage, LiveStatus, Look, QueuedJobs
from core.service.domain.priority import Priority
from core.service.domain.schema import (
    LANES_OF_ANY_MODEL,
    ChunkLists,
    ChunkRecord,
    JobRecord,
    JobStatus,
    Lane,
    StepProgress,
    Variant,
)
from core.service.domain.transitions.entries import place_of
from core.service.records.job_order import cursor_from_member, index_member, member_from_cursor
from core.service.testing.lane_claims import queues_of
from core.service.testing.work_reads import FakeWorkReads


class FakeJobStore(FakeWorkReads):
    """ports.JobStore in memory. FakeEventLog and FakeOutbox read the events and webhooks that it writes."""

    def ping(self) -> None: ...

    def begin_create(self, job_id: str) -> None:
        self.memory.announced[job_id] = self._clock.now()

    def unfinished_creates(self, moment: datetime) -> Sequence[str]:
        return [job_id for job_id, at in self.memory.announced.items() if at <= moment]

    def forget_create(self, job_id: str) -> None:
        self.memory.announced.pop(job_id, None)

    def create(self, record: JobRecord, limits: KeyLimits | None = None) -> JobRecord:
        transition = transitions.create(record)
        if not self._put_new(transition, limits) and not transitions.is_same_job(self.get(record.id), record):
            raise JobStateConflict(f"{record.id} exists already")
        return transition.record

    def restore(self, record: JobRecord, lists: ChunkLists) -> bool:
        return not self.has_tombstone(record.id) and self._put_new(transitions.restore(record, lists))

    def chunks(self, job_id: str, variant: Variant, start: int = 0, stop: int | None = None) -> Sequence[ChunkRecord]:
        with self.memory.changed:
            if job_id not in self.memory.records:
                raise JobNotFound(f"there is no job {job_id}")
            return self.memory.chunks.get((job_id, variant), [])[start:stop]

    def look(self, job_id: str) -> Look:
        with self.memory.changed:
            record = self.get(job_id)
            (live,) = self.live_statuses([record])
            return Look(record, live, f"{record.model_dump_json()} {live}")

    def looks(self, job_ids: Sequence[str]) -> Sequence[Look | None]:
        return [self._look_or_none(job_id) for job_id in job_ids]

    def marks(self, job_ids: Sequence[str]) -> Sequence[str | None]:
        return [seen.mark if seen else None for seen in self.looks(job_ids)]

    def _look_or_none(self, job_id: str) -> Look | None:
        with suppress(JobNotFound):
            return self.look(job_id)
        return None

    def list(
        self,
        *,
        owner: str | None = None,
        status: JobStatus | None = None,
        limit: int = 20,
        cursor: str | None = None,
        oldest_first: bool = False,
    ) -> JobPage:
        past = None if cursor is None else member_from_cursor(cursor)
        listed = [
            record
            for record in (self._sorted() if oldest_first else reversed(self._sorted()))
            if not record.delete_requested
            and owner in {None, record.owner}
            and status in {None, record.status}
            and (past is None or (index_member(record) > past if oldest_first else index_member(record) < past))
        ]
        more = len(listed) > limit
        return JobPage(listed[:limit], cursor_from_member(index_member(listed[limit - 1])) if more else None)

    def active(self) -> Sequence[JobRecord]:
        return [record for record in self._sorted() if record.delete_requested or not record.status.is_terminal]

    def expired(self, now: datetime) -> Sequence[JobRecord]:
        ended = [record for record in self._sorted() if not record.delete_requested]
        return [record for record in ended if record.expires_at is not None and record.expires_at <= now]

    def deleted(self) -> Sequence[JobRecord]:
        return [record for record in self._sorted() if record.delete_requested]

    def reindex(self) -> int:
        return 0

    def cancel_requested(self, job_id: str) -> bool:
        with self.memory.changed:
            record = self.memory.records.get(job_id)
        return record is None or transitions.should_stop(record)

    def purge(self, job_id: str) -> None:
        memory = self.memory
        with memory.changed:
            if job_id in memory.records:
                self.usage.remove(memory.records[job_id])
                self._leave_pools(memory.records[job_id])
            for table in (memory.records, memory.events, memory.stale_pages):
                table.pop(job_id, None)
            memory.chunks = {key: listed for key, listed in memory.chunks.items() if key[0] != job_id}
            memory.progress = {key: report for key, report in memory.progress.items() if key[0] != job_id}
            memory.leases = {key: held for key, held in memory.leases.items() if key[0] != job_id}
            memory.deliveries = {key: row for key, row in memory.deliveries.items() if key[0] != job_id}
            memory.due = {key: at for key, at in memory.due.items() if key[0] != job_id}
            memory.rests = {key: at for key, at in memory.rests.items() if key[0] != job_id}
            memory.dropped.pop(job_id, None)
            memory.given_up.pop(job_id, None)
            memory.disabled_webhooks.discard(job_id)
            memory.stale_manifests.pop(job_id, None)
            memory.unswept.discard(job_id)

    def add_tombstone(self, job_id: str, until: datetime) -> None:
        self.memory.tombstones[job_id] = until

    def has_tombstone(self, job_id: str) -> bool:
        return job_id in self.memory.tombstones

    def has_all_records(self) -> bool:
        return True

    def orphaned_job_ids(self) -> Sequence[str]:
        return sorted({job_id for job_id in self.memory.events if job_id not in self.memory.records})

    def expired_tombstones(self, now: datetime) -> Sequence[str]:
        return [job_id for job_id, until in self.memory.tombstones.items() if until <= now]

    def remove_tombstone(self, job_id: str) -> None:
        self.memory.tombstones.pop(job_id, None)

    def manifest_stored(self, record: JobRecord) -> JobRecord | None:
        with self.memory.changed:
            if self.has_tombstone(record.id):
                raise JobNotFound(f"there is no job {record.id}")
            newest = self.memory.records.get(record.id, record)
            pages = self.memory.stale_pages.get(record.id, {})
            stored = record.revision if record.revision <= newest.revision else -1
            for page in [page for page, revision in pages.items() if revision <= stored]:
                del pages[page]
            if newest.revision != record.revision:
                self.memory.stale_manifests[record.id] = newest.revision
                return newest
            self.memory.stale_manifests.pop(record.id, None)
            return None

    def stale_pages(self, job_id: str) -> Sequence[ChunkPage]:
        with self.memory.changed:
            return [*self.memory.stale_pages.get(job_id, {})]

    def cleanup_pending(self, limit: int) -> Sequence[JobRecord]:
        with self.memory.changed:
            return [self.memory.records[job_id] for job_id in sorted(self.memory.unswept)[:limit]]

    def request_cleanup(self, job_id: str) -> None:
        self.memory.unswept.add(job_id)

    def cleanup_done(self, job_id: str) -> None:
        self.memory.unswept.discard(job_id)

    def stale_manifests(self) -> Sequence[JobRecord]:
        with self.memory.changed:
            return [self.memory.records[job_id] for job_id in self.memory.stale_manifests]

    def report_progress(self, job_id: str, progress: StepProgress) -> bool:
        with self.memory.changed:
            if job_id in self.memory.records:
                self.memory.num_reports += 1
                self.memory.progress[job_id, progress.lane] = (self.memory.num_reports, progress)
                self.memory.changed.notify_all()
            return self.cancel_requested(job_id)

    def live_statuses(self, records: Sequence[JobRecord]) -> Sequence[LiveStatus]:
        return [self._live_status(record) for record in records]

    def _steps(self, record: JobRecord) -> Mapping[Lane, StepProgress]:
        reports = {lane: self._progress(record.id, lane) for lane in transitions.lanes_with_progress(record)}
        return {lane: report for lane, report in reports.items() if report is not None}

    def _progress(self, job_id: str, lane: Lane) -> StepProgress | None:
        with self.memory.changed:
            return self.memory.progress.get((job_id, lane), (0, None))[1]

    def _live_status(self, record: JobRecord) -> LiveStatus:
        steps = self._steps(record)
        with self.memory.changed:
            known = self.memory.records.get(record.id)
            if known is None or known.status is not JobStatus.QUEUED or known.delete_requested:
                return LiveStatus(steps)
            model, pool = record.spec.model, self._pool(Lane.GENERATE, record.spec.model)
            place = position(place_of(record), self._free_entries([Lane.GENERATE], model), pool)
            return LiveStatus(
                steps, place, wait_seconds(place, Backlog.of(self._entries([Lane.GENERATE], model)), pool)
            )

    def count_active(self) -> int:
        return sum(not record.status.is_terminal for record in self._sorted())

    def counts(self, models: Sequence[str]) -> JobCounts:
        jobs = [record for record in self._sorted() if not record.delete_requested]
        waiting = [record for record in jobs if record.status is JobStatus.QUEUED]
        names = {*models, *(job.spec.model for job in jobs)}
        of_classes = {
            (model, priority): [job for job in waiting if (job.spec.model, job.spec.priority) == (model, priority)]
            for model in names
            for priority in Priority
        }
        wanted = [queue for record in jobs for queue in queues_of(record)]
        queues = [(lane, "" if lane in LANES_OF_ANY_MODEL else model) for lane, model in wanted]
        queued = {
            of_class: QueuedJobs(len(of), min((job.queued_at for job in of), default=None))
            for of_class, of in of_classes.items()
        }
        return JobCounts(
            {status: sum(job.status is status for job in jobs) for status in JobStatus},
            queued,
            {queue: queues.count(queue) for queue in queues},
            len(self.memory.due),
            self.pool_demands(),
        )
