"""Queues, claims and leases of the in-memory job store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from core.service.domain import transitions
from core.service.domain.capacity import PoolDemand, lane_work, pool_demand
from core.service.domain.ports import Lease, QueuedWork
from core.service.domain.scheduling import Entry, Key, choose
from core.service.domain.schema import LANES_OF_ANY_MODEL, ChunkRecord, JobRecord, JobStatus, Lane
from core.service.domain.transitions.entries import entry_of
from core.service.testing.memory import MemoryStore, pool_name


class FakeLaneClaims(MemoryStore):
    """Part of ports.JobStore: which jobs wait for a lane, and who holds it."""

    def queued_work(self) -> Sequence[QueuedWork]:
        queues = {(lane, queue_model) for record in self._sorted() for lane, queue_model in queues_of(record)}
        heads = [(lane, job_id) for lane, model in sorted(queues) for job_id in self.ready(lane, model, 1)]
        return [QueuedWork(lane, self.get(job_id)) for lane, job_id in heads]

    def free_work(self, lanes: Sequence[Lane], model: str) -> Mapping[Lane, str]:
        with self.memory.changed:
            free = {entry.lane: entry.job_id for entry in reversed(self._free_entries(lanes, model))}
            return {lane: free[lane] for lane in lanes if lane in free}

    def ready(self, lane: Lane, model: str, limit: int) -> Sequence[str]:
        return [record.id for record in self._free(lane, model)][:limit]

    def count_prepared(self, model: str, limit: int) -> int:
        ahead = [r for r in self._sorted() if r.spec.model == model and transitions.is_prepared_ahead(r)]
        return min(len(ahead), limit)

    def claim_next(
        self, lanes: Sequence[Lane], model: str, worker: str, ttl_seconds: float, own: Collection[Key] = ()
    ) -> Lease | None:
        with self.memory.changed:
            free, pool = self._free_entries(lanes, model), self._pool(lanes[0], model)
            while choice := choose(free, pool, self._policy, self._now(), own):
                pool.pick(choice, self._now())
                if lease := self.claim(choice.entry.job_id, choice.entry.lane, worker, ttl_seconds):
                    return lease
                free.remove(choice.entry)
            if not self._free_entries([lane for lane in Lane if self._pool(lane, model) is pool], model):
                pool.pick(None, self._now())
                pool.rest(self._begun_and_new(model)[0] if model else 0)
            return None

    def pool_demands(self) -> Sequence[PoolDemand]:
        with self.memory.changed:
            return [self._demand(name) for name in sorted(self.memory.used_pools)]

    def _demand(self, name: str) -> PoolDemand:
        pool = self.memory.pools[name]
        lanes = [lane for lane in Lane if pool_name(lane, name) == name]
        paces = {Lane.GENERATE: pool.pace}
        work = [lane_work(self._entries([lane], name), pool.mean_seconds.get(lane), paces.get(lane)) for lane in lanes]
        return pool_demand(name, work, len(pool.charges))

    def is_next(self, entry: Entry, lanes: Sequence[Lane], model: str) -> bool:
        with self.memory.changed:
            if all(each.key != entry.key for each in self._entries([entry.lane], model)):
                return False
            free = [each for each in self._free_entries(lanes, model) if each.key != entry.key]
            choice = choose([*free, entry], self._pool(entry.lane, model), self._policy, self._now(), [entry.key])
            return choice is not None and choice.entry == entry

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def claim(self, job_id: str, lane: Lane, worker: str, ttl_seconds: float) -> Lease | None:
        with self.memory.changed:
            record = self.get(job_id)
            if self.lease_alive(job_id, lane) or self._rests(job_id, lane) or not transitions.wants(record, lane):
                return None
            claimed = self._apply(transitions.claim(record, lane, self._clock.now(), self.memory.commits))
            return self._hold(claimed, lane, worker, ttl_seconds)

    def commit_and_claim(self, lease: Lease, chunk: ChunkRecord, fingerprint: str, ttl_seconds: float) -> JobRecord:
        with self.memory.changed:
            now, record, commits = self._clock.now(), self.get(lease.job_id), self.memory.commits
            committed = self._apply(transitions.commit_and_claim(record, lease, chunk, fingerprint, now, commits))
            if committed.lane(lease.lane).held:
                self._hold(committed, lease.lane, lease.worker, ttl_seconds)
            return committed

    def _hold(self, record: JobRecord, lane: Lane, worker: str, ttl_seconds: float) -> Lease:
        """Make the newest claim of a lane a worker's lease."""
        state = record.lane(lane)
        self.memory.leases[record.id, lane] = (state.token, self._clock.now() + timedelta(seconds=ttl_seconds))
        lease = Lease(record.id, lane, state.token, worker, transitions.is_poison(state))
        self.memory.claims[worker], self.memory.claimed_at[worker] = lease, self._clock.now()
        return lease

    def renew(self, lease: Lease, ttl_seconds: float) -> bool:
        with self.memory.changed:
            record = self.memory.records.get(lease.job_id)
            state = record.lane(lease.lane) if record and not record.delete_requested else None
            if state is None or not state.held or not (state.token == lease.token or transitions.is_kept(state, lease)):
                return False
            until = self._clock.now() + timedelta(seconds=ttl_seconds)
            self.memory.leases[lease.job_id, lease.lane] = (state.token, until)
            return True

    def release(self, lease: Lease, *, count_attempt: bool, rest_seconds: float = 0.0) -> None:
        with self.memory.changed:
            record = self.memory.records.get(lease.job_id)
            given_back = record and transitions.release(
                record, lease, count_attempt=count_attempt, rest_seconds=rest_seconds
            )
            if given_back:
                self._apply(given_back)

    def release_of_worker(self, worker: str) -> Lease | None:
        with self.memory.changed:
            lease = self.memory.claims.pop(worker, None)
            record = self.memory.records.get(lease.job_id) if lease else None
            if lease is None or record is None:
                return None
            freed = transitions.abandon(record, lease.lane, lease.token, self.memory.commits)
            return lease if freed and self._apply(freed) else None

    def abandoned_cancels(self) -> Sequence[JobRecord]:
        canceling = [record for record in self._sorted() if record.status is JobStatus.CANCELING]
        return [record for record in canceling if not any(self.lease_alive(record.id, lane) for lane in Lane)]

    def _free(self, lane: Lane, model: str) -> Sequence[JobRecord]:
        """Jobs that wait for the lane and can be claimed, in order."""
        with self.memory.changed:
            found, free = list[JobRecord](), self._free_entries([lane], model)
            while choice := choose(free, self._pool(lane, model), self._policy, self._now()):
                found.append(self.memory.records[choice.entry.job_id])
                free.remove(choice.entry)
            return found

    def _free_entries(self, lanes: Sequence[Lane], model: str) -> list[Entry]:
        """Entries of these lanes that can be claimed. Claims of the pool that have expired are settled."""
        pool = self._pool(lanes[0], model)
        in_pool = [lane for lane in Lane if self._pool(lane, model) is pool]
        free = [each for each in self._entries(in_pool, model) if not self.lease_alive(*each.key)]
        free = [entry for entry in free if not self._rests(*entry.key)]
        for entry in free:
            pool.settle(entry.key, self._now(), is_made=False)
            pool.served.setdefault(entry.owner, pool.clock)
        return [entry for entry in free if entry.lane in lanes]

    def _entries(self, lanes: Sequence[Lane], model: str) -> list[Entry]:
        """All entries of these lanes, those of claimed jobs too."""
        of_model = [(r, lane) for r in self._sorted() for lane in lanes if _in_queue(r, lane, model)]
        return [entry for record, lane in of_model if (entry := entry_of(record, lane)) is not None]


def _in_queue(record: JobRecord, lane: Lane, model: str) -> bool:
    return lane in LANES_OF_ANY_MODEL or record.spec.model == model


def queues_of(record: JobRecord) -> list[tuple[Lane, str]]:
    return [(lane, record.spec.model) for lane in Lane if transitions.wants(record, lane)]
