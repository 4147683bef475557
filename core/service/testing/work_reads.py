"""What waits, what workers are making and what was made lately, of the in-memory job store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from core.service.domain.ports import Made, MadeLately, PieceInWork, Totals, WaitingJobs
from core.service.domain.priority import Priority
from core.service.domain.rates import bucket_of, newest_buckets, window_seconds
from core.service.domain.schema import LANES_OF_ANY_MODEL, JobStatus, Lane
from core.service.testing.lane_claims import FakeLaneClaims


class FakeWorkReads(FakeLaneClaims):
    """ports.WorkReads in memory."""

    def totals(self) -> Totals:
        with self.memory.changed:
            jobs = [record for record in self._sorted() if not record.delete_requested]
            by_status = {status: sum(job.status is status for job in jobs) for status in JobStatus}
            return Totals(by_status, len(self.memory.due))

    def waiting(self) -> Sequence[WaitingJobs]:
        with self.memory.changed:
            models = sorted({record.spec.model for record in self._sorted()})
            queues = [(lane, model) for lane in Lane for model in ([""] if lane in LANES_OF_ANY_MODEL else models)]
            return [found for lane, model in queues if (found := self._waiting(lane, model)) is not None]

    def _waiting(self, lane: Lane, model: str) -> WaitingJobs | None:
        """None if the queue never had a job, as far as the jobs tell that are there."""
        if not self._entries([lane], model):
            return None
        free = self._free_entries([lane], model)
        counts = {each: sum(entry.priority == each.number for entry in free) for each in Priority}
        since = min((entry.waits_since for entry in free), default=None)
        return WaitingJobs(lane, model, counts, None if since is None else datetime.fromtimestamp(since, UTC))

    def in_work(self, workers: Sequence[str]) -> Mapping[str, PieceInWork]:
        with self.memory.changed:
            found = {worker: self._piece(worker) for worker in workers}
        return {worker: piece for worker, piece in found.items() if piece is not None}

    def _piece(self, worker: str) -> PieceInWork | None:
        lease = self.memory.claims.get(worker)
        if lease is None or not self.lease_alive(lease.job_id, lease.lane):
            return None
        if self.memory.leases[lease.job_id, lease.lane][0] != lease.token:
            return None
        seconds = (self._clock.now() - self.memory.claimed_at[worker]).total_seconds()
        if (reported := self.memory.progress.get((lease.job_id, lease.lane))) is not None:
            step = reported[1]
            return PieceInWork(lease.job_id, lease.lane, step.chunk_index, step.step, step.steps, seconds)
        record = self.memory.records[lease.job_id]
        counts = {Lane.GENERATE: record.chunks.count, Lane.REFINE: record.refined.count}
        return PieceInWork(lease.job_id, lease.lane, counts.get(lease.lane), None, None, seconds)

    def made_lately(self) -> MadeLately:
        now, sums = self._clock.now().timestamp(), dict[tuple[Lane, str], Made]()
        for at, key, made in self.memory.made:
            if bucket_of(at) in newest_buckets(now):
                sums[key] = sums.get(key, Made()) + made
        return MadeLately(window_seconds(now), sums)
