"""ports.JobStore in Redis, in parts: job_records, job_queries, job_counts, work_reads, lane_claims,
job_cleanup."""

from __future__ import annotations

from core.service.domain import transitions
from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import JobStateConflict
from core.service.domain.schema import ChunkLists, JobRecord
from core.service.redis.errors import raises_store_errors
from core.service.redis.job_cleanup import JobCleanup
from core.service.redis.job_counts import StoredJobCounts
from core.service.redis.job_queries import JobQueries
from core.service.redis.lane_claims import LaneClaims
from core.service.redis.work_reads import StoredWorkReads


class RedisJobStore(JobQueries, StoredJobCounts, StoredWorkReads, LaneClaims, JobCleanup):
    """ports.JobStore. `redis` is from client.connect; ended jobs expire `retention_seconds` later."""

    @raises_store_errors
    def create(self, record: JobRecord, limits: KeyLimits | None = None) -> JobRecord:
        """Idempotent for the same job: the first answer may have been lost, or the janitor may have rebuilt it from its
        manifest. Workers may have started it meanwhile."""
        transition = transitions.create(record)
        is_new = self._put_new(record.id, transition, limits)
        if not is_new and not transitions.is_same_job(self.get(record.id), record):
            raise JobStateConflict(f"{record.id} exists already")
        return transition.record

    @raises_store_errors
    def restore(self, record: JobRecord, lists: ChunkLists) -> bool:
        return not self.has_tombstone(record.id) and self._put_new(record.id, transitions.restore(record, lists))
