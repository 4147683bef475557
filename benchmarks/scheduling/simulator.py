"""Event by event: jobs come, workers make chunks, until all is done or time is up. Same input, same outcome."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from benchmarks.scheduling.policies import Scheduler
from benchmarks.scheduling.workload import SimulatedJob


@dataclass(frozen=True)
class Piece:
    """A worker made a chunk."""

    worker: int
    job: SimulatedJob
    started_at: float
    ended_at: float


@dataclass
class Outcome:
    """What happened."""

    jobs: Sequence[SimulatedJob]
    workers: int
    pieces: list[Piece] = field(default_factory=list[Piece])


def simulate(jobs: Sequence[SimulatedJob], workers: int, scheduler: Scheduler, until: float = float("inf")) -> Outcome:
    """All `jobs`, which must be fresh, on so many workers. A piece that would end after `until` is not made."""
    outcome = Outcome(jobs, workers)
    numbers = count()
    events: list[tuple[float, int, Piece | SimulatedJob]] = [(job.created_at, next(numbers), job) for job in jobs]
    heapq.heapify(events)
    idle = list(range(workers))
    while events:
        now = events[0][0]
        while events and events[0][0] == now:
            happened = heapq.heappop(events)[2]
            if isinstance(happened, Piece):
                _end(happened, scheduler)
                heapq.heappush(idle, happened.worker)
                outcome.pieces.append(happened)
            else:
                scheduler.free(happened, now)
        while idle and (job := scheduler.take(idle[0], now)) is not None:
            piece = _begin(heapq.heappop(idle), job, now)
            if piece.ended_at > until:
                return outcome
            heapq.heappush(events, (piece.ended_at, next(numbers), piece))
    return outcome


def _begin(worker: int, job: SimulatedJob, now: float) -> Piece:
    if job.started_at is None:
        job.started_at = now
    return Piece(worker, job, now, now + job.seconds[job.done])


def _end(piece: Piece, scheduler: Scheduler) -> None:
    job = piece.job
    job.committed_at.append(piece.ended_at)
    scheduler.made(job, piece.worker, piece.ended_at - piece.started_at)
    if not job.has_ended:
        scheduler.free(job, piece.ended_at)
