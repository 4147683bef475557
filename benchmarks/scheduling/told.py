"""How true it is what jobs in the queue are told: `starts_in_seconds` and `eta_seconds` beside what happened."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Figure
from benchmarks.scheduling.policies import Ours
from benchmarks.scheduling.scenarios import Stream
from benchmarks.scheduling.simulator import simulate
from benchmarks.scheduling.workload import SimulatedJob
from core.metrics.delivery.spread import percentile
from core.service.domain.scheduling import Policy


def told(stream: Stream, seeds: Sequence[int]) -> list[Figure]:
    """Errors of starts that were, or were told to be, later than at once: at submission and, of jobs that waited, half
    way to their start, when they ask again; and of the ends of all jobs."""
    starts, ends, later = list[float](), list[float](), list[float]()
    for seed in seeds:
        first = Ours(Policy(), {})
        jobs = simulate(stream.jobs(seed), stream.workers, first).jobs
        least = stream.times.first_mean
        for job in jobs:
            if (said := first.starts_in.get(job.id)) is None:
                continue
            if max(said, waited(job)) > least:  # most start at once and are told so, which would hide the others
                starts.append(error(said, waited(job), least))
            work = stream.times.seconds_of(len(job.seconds))
            ends.append(error(said + work, job.committed_at[-1] - job.created_at, least))
        questions = [(job.created_at + waited(job) / 2, job.id) for job in jobs if waited(job) > least]
        again = Ours(Policy(), {}, questions)
        simulate(stream.jobs(seed), stream.workers, again)
        left = {job.id: waited(job) / 2 for job in jobs}
        later += [error(said, left[job_id], least) for job_id, said in again.starts_in_later.items()]
    return [
        _figure(stream, "starts_in_seconds at submission", starts),
        _figure(stream, "starts_in_seconds at half the wait", later),
        _figure(stream, "eta_seconds at submission", ends),
    ]


def waited(job: SimulatedJob) -> float:
    """Seconds until its first chunk was begun."""
    assert job.started_at is not None, "a job that ended has begun"
    return job.started_at - job.created_at


def error(said: float, real: float, least: float) -> float:
    """-1 to 1: how far `said` is from `real`, of the larger one, and at least of `least`: whether a job starts at once
    or in a second is no error. 0.5: said twice as long as it was; -0.5: half as long."""
    return (said - real) / max(said, real, least)


def _figure(stream: Stream, what: str, errors: Sequence[float]) -> Figure:
    p90 = percentile([abs(each) for each in errors], 90) if errors else 0.0
    median = percentile(errors, 50) if errors else 0.0
    note = f"{len(errors)} jobs, median {100 * median:.1f} %"
    return Figure(f"told, {stream.name}, {what}: 90 % of errors are within", round(100 * p90, 1), "%", note=note)
