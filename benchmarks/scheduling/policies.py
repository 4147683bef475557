"""The policies that are compared. Each answers what a free worker does next."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol

from benchmarks.scheduling.workload import PLAYED_SECONDS, SimulatedJob
from core.service.domain import scheduling
from core.service.domain.places import Backlog, wait_seconds
from core.service.domain.scheduling import Entry, Policy, Pool
from core.service.domain.schema import Lane


class Scheduler(Protocol):
    """Which job is next."""

    def free(self, job: SimulatedJob, now: float) -> None:
        """`job` has come, or its piece has ended and it is not finished."""
        ...

    def take(self, worker: int, now: float) -> SimulatedJob | None:
        """The job that `worker` makes the next chunk of. None if none is free."""
        ...

    def made(self, job: SimulatedJob, worker: int, seconds: float) -> None:
        """`worker` has made a chunk in so many seconds; called before `free`."""
        ...


class TurnTaking:
    """Chunk by chunk in turn: a job whose chunk was made goes to the end of the queue."""

    def __init__(self) -> None:
        self._queue = deque[SimulatedJob]()

    def free(self, job: SimulatedJob, now: float) -> None:  # noqa: ARG002
        self._queue.append(job)

    def take(self, worker: int, now: float) -> SimulatedJob | None:  # noqa: ARG002
        return self._queue.popleft() if self._queue else None

    def made(self, job: SimulatedJob, worker: int, seconds: float) -> None:
        pass


class OldestFirst:
    """The oldest job that nobody works at."""

    def __init__(self) -> None:
        self._heap = list[tuple[float, str, SimulatedJob]]()

    def free(self, job: SimulatedJob, now: float) -> None:  # noqa: ARG002
        heapq.heappush(self._heap, (job.created_at, job.id, job))

    def take(self, worker: int, now: float) -> SimulatedJob | None:  # noqa: ARG002
        return heapq.heappop(self._heap)[2] if self._heap else None

    def made(self, job: SimulatedJob, worker: int, seconds: float) -> None:
        pass


class Ours:
    """`core.service.domain.scheduling.choose`, kept as a store keeps it.

    Of an owner's new jobs of one class only the oldest can be chosen, by turn or by age; so only that is shown to
    `choose`, whose cost grows with what it is shown.
    """

    def __init__(
        self, policy: Policy, shares: Mapping[str, float], questions: Iterable[tuple[float, str]] = ()
    ) -> None:
        """`questions`: times at which these jobs, which wait then, ask again when they start."""
        self._policy, self._shares, self.pool = policy, shares, Pool()
        self._questions = sorted(questions, reverse=True)
        self._new = dict[tuple[str, int], list[tuple[float, str]]]()
        self._begun = dict[str, Entry]()
        self._jobs = dict[str, SimulatedJob]()
        self._held = dict[int, str]()
        """The job whose state a worker holds."""
        self.said = dict[str, int]()
        """The place in the queue that each job was told when it came."""
        self.starts_in = dict[str, float]()
        """The seconds until its start that each job was told when it came; none before a chunk was ever made."""
        self.starts_in_later = dict[str, float]()
        """Those that it was told when it asked again."""

    def free(self, job: SimulatedJob, now: float) -> None:
        self._answer(now)
        if job.id not in self._jobs:
            self.pool.join(job.owner)
            self._jobs[job.id] = job
            heapq.heappush(self._new.setdefault((job.owner, job.priority.number), []), (job.created_at, job.id))
            self.said[job.id] = self._place(job)
            self._tell(job, self.starts_in)
        else:
            self._begun[job.id] = self._entry(job, now)

    def _answer(self, now: float) -> None:
        while self._questions and self._questions[-1][0] <= now:
            self._tell(self._jobs[self._questions.pop()[1]], self.starts_in_later)

    def _tell(self, job: SimulatedJob, told: dict[str, float]) -> None:
        new = [len(each.seconds) for each in self._jobs.values() if each.started_at is None]
        begun = [len(each.seconds) - each.done for each in self._jobs.values() if each.started_at is not None]
        backlog = Backlog(len(new), sum(new), len(begun), sum(begun))
        if (seconds := wait_seconds(self._place(job), backlog, self.pool)) is not None:
            told[job.id] = seconds

    def _place(self, job: SimulatedJob) -> int:
        """Of a new job among the new ones, from 1: those of better classes come first, and of its own
        class, for each of its owner's, one of every other owner."""
        number, new = job.priority.number, {key: len(heap) for key, heap in self._new.items() if heap}
        better = sum(count for (_, of_class), count in new.items() if of_class < number)
        own = sum(other < (job.created_at, job.id) for other in self._new[job.owner, number])
        turn = (self.pool.served_of(job.owner), job.owner)
        others = {owner: count for (owner, of_class), count in new.items() if of_class == number and owner != job.owner}
        before = (min(count, own + ((self.pool.served_of(owner), owner) < turn)) for owner, count in others.items())
        return better + own + sum(before) + 1

    def _entry(self, job: SimulatedJob, now: float) -> Entry:
        return Entry(
            job.id,
            Lane.GENERATE,
            job.owner,
            job.priority.number,
            bool(job.done),
            job.created_at,
            now,
            job.stalls_at,
            self._shares.get(job.owner, 1.0),
            plays_seconds=PLAYED_SECONDS,
        )

    def take(self, worker: int, now: float) -> SimulatedJob | None:
        self._answer(now)
        oldest = [self._jobs[heap[0][1]] for heap in self._new.values() if heap]
        entries = [*self._begun.values(), *(self._entry(job, job.created_at) for job in oldest)]
        held = self._held.get(worker)
        own = frozenset({(held, Lane.GENERATE)} if held else ())
        choice = scheduling.choose(entries, self.pool, self._policy, now, own)
        if choice is None:
            self.pool.pick(None, now)
            self.pool.rest(self._num_begun())
            return None
        job = self._jobs[choice.entry.job_id]
        if choice.entry.begun:
            del self._begun[job.id]
        else:
            heapq.heappop(self._new[job.owner, job.priority.number])
            begun = self._num_begun() + 1
            self.pool.begin(begun, len(self._jobs) - begun)
        self.pool.pick(choice, now)
        self.pool.claim(choice.entry, now)
        self._held = {other: of for other, of in self._held.items() if of != job.id} | {worker: job.id}
        return job

    def _num_begun(self) -> int:
        return sum(each.started_at is not None for each in self._jobs.values())

    def made(self, job: SimulatedJob, worker: int, seconds: float) -> None:  # noqa: ARG002
        key = (job.id, Lane.GENERATE)
        self.pool.settle(key, self.pool.charges[key].since + seconds, is_made=True)
        if job.has_ended:
            self.pool.leave(job.owner)
            del self._jobs[job.id]
