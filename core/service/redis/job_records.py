"""Reading and changing one job's record in Redis as an optimistic transaction: WATCH, read, decide, write in one
script (transaction.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from core.service.clock import SystemClock
from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import JobNotFound, shortened
from core.service.domain.ports import Clock, JobStore
from core.service.domain.scheduling import Policy
from core.service.domain.schema import ChunkLists, JobRecord
from core.service.domain.transitions import Transition
from core.service.records.job_order import job_id_of_member
from core.service.records.transition_store import TransitionStore
from core.service.redis import job_rows as rows
from core.service.redis import job_scripts as scripts
from core.service.redis import keys, made, made_scripts, usage
from core.service.redis.errors import raises_store_errors
from core.service.redis.schedule import Now, Schedule
from core.service.redis.transaction import Transactions

Decide = Callable[[Pipeline, JobRecord], Transition | None]
"""Decides on the transition of a record that was read under WATCH (the pipeline may read more); None: no change."""
StoredJob = tuple[JobRecord, ChunkLists]
"""A record, and the chunks inside it if an older version wrote it."""
AlsoWrite = Callable[[Pipeline, JobRecord], None]
DEFAULT_POLICY = Policy()
READ_AT_ONCE = 500
"""Records of one script, during which Redis answers nobody else."""
RebuildRecord = Callable[[JobStore, str], bool]
"""Rebuilds the record of one job from its manifest; False if it has none (core.service.records.rebuild)."""


class JobRecords(TransitionStore):
    """The part of ports.JobStore that reads and changes single records; the other parts build on it."""

    def __init__(
        self,
        redis: redis.Redis,
        clock: Clock,
        *,
        retention_seconds: float,
        policy: Policy = DEFAULT_POLICY,
        rebuild: RebuildRecord | None = None,
    ) -> None:
        super().__init__(clock, retention_seconds)
        self._schedule = Schedule(redis, policy)
        self._transactions = Transactions(redis)
        self._redis = redis
        self._rebuild = rebuild
        self._renew = redis.register_script(scripts.RENEW)
        self._manifest_stored = redis.register_script(scripts.MANIFEST_STORED)
        self._look = redis.register_script(scripts.LOOK)
        self._read_all = redis.register_script(scripts.RECORDS)
        self._places = redis.register_script(scripts.PLACES)
        self._read_made = redis.register_script(made_scripts.READ)
        self._report_progress = redis.register_script(scripts.REPORT_PROGRESS)

    @raises_store_errors
    def ping(self) -> None:
        self._redis.ping()

    @raises_store_errors
    def has_all_records(self) -> bool:
        return bool(self._redis.exists(keys.MANIFESTS_READ))

    @raises_store_errors
    def get(self, job_id: str) -> JobRecord:
        return visible(self._stored(job_id)[0])

    def _stored(self, job_id: str) -> StoredJob:
        """Raises JobNotFound."""
        return _found(job_id, self._read_or_rebuild(self._redis, job_id))

    @raises_store_errors
    def _change(
        self, job_id: str, change: Callable[[JobRecord], Transition], limits: KeyLimits | None = None
    ) -> JobRecord:
        changed = self._transact(job_id, lambda _pipe, record: change(record), limits=limits)
        assert changed is not None
        return changed

    def _transact(
        self,
        job_id: str,
        decide: Decide,
        *,
        also_write: AlsoWrite | None = None,
        even_deleted: bool = False,
        limits: KeyLimits | None = None,
    ) -> JobRecord | None:
        """Read, decide and write; start again on a conflict. Returns the new record, or None if there is no change.
        Raises LimitReached if the owner has these limits and may not make the change.

        Watching the record covers its leases too: a lease is taken only together with a new token in the record.
        redis-py reports a connection lost under WATCH as a conflict as well, so transitions must be idempotent.
        """
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(keys.job_key(job_id))
                    before, inside = _found(job_id, self._read_or_rebuild(pipe, job_id))
                    transition = decide(pipe, before if even_deleted else visible(before))
                    if transition is None or (transition.record is before and also_write is None):
                        return None if transition is None else before
                    usage.require_room(pipe, before, transition.record, limits, self._clock)
                    pipe.multi()
                    rows.write(pipe, before, transition, self._now(), inside)
                    made.write(pipe, transition, self._now())
                    if also_write is not None:
                        also_write(pipe, transition.record)
                    self._transactions.execute(pipe)
                    return transition.record
                except WatchError:
                    continue

    def _now(self) -> Now:
        """For the queues and rates: by Redis' clock, but tests give theirs."""
        return None if isinstance(self._clock, SystemClock) else self._clock.now().timestamp()

    def _put_new(self, job_id: str, transition: Transition, limits: KeyLimits | None = None) -> bool:
        """Write a new record. False if it exists already. Raises LimitReached as `_transact`."""
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(keys.job_key(job_id))
                    if pipe.exists(keys.job_key(job_id)):
                        return False
                    usage.require_room(pipe, None, transition.record, limits, self._clock)
                    pipe.multi()
                    rows.write(pipe, None, transition, self._now())
                    self._transactions.execute(pipe)
                    return True
                except WatchError:
                    continue

    def _read_or_rebuild(self, client: redis.Redis, job_id: str) -> StoredJob | None:
        """The record, and the chunks inside it if an older version wrote it. If Redis has lost its data and the record
        is not rebuilt yet, it is rebuilt now."""
        record = _read(client, job_id)
        if record is None and self._rebuild is not None and not self.has_all_records():
            return _read(client, job_id) if self._rebuild(cast("JobStore", self), job_id) else None
        return record

    def _records(self, members: Iterable[str]) -> Sequence[JobRecord]:
        """Records of index members; jobs purged meanwhile are skipped."""
        return self._records_of([job_id_of_member(member) for member in members])

    def _records_of(self, job_ids: Sequence[str]) -> Sequence[JobRecord]:
        found = list[str | None]()
        for start in range(0, len(job_ids), READ_AT_ONCE):
            some = [keys.job_key(job_id) for job_id in job_ids[start : start + READ_AT_ONCE]]
            found += cast("list[str | None]", self._read_all(keys=some))
        return rows.readable(zip(job_ids, found, strict=True))


def _read(client: redis.Redis, job_id: str) -> StoredJob | None:
    row = rows.read_row(client, job_id)
    return None if row is None else rows.parse_row(job_id, row)


def _found(job_id: str, stored: StoredJob | None) -> StoredJob:
    if stored is None:
        raise JobNotFound(f"there is no job {shortened(job_id, 64)}")
    return stored


def visible(record: JobRecord) -> JobRecord:
    """The record, unless the job is marked for deletion (then only the janitor sees it). Raises JobNotFound."""
    if record.delete_requested:
        raise JobNotFound(f"there is no job {shortened(record.id, 64)}")
    return record
