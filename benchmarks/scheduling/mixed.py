"""Jobs of one pool whose chunks cost differently: do those that are made faster than they play stall for the others?"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from benchmarks.figures import Figure
from benchmarks.scheduling.measures import stalls
from benchmarks.scheduling.policies import Ours
from benchmarks.scheduling.scenarios import Stream
from benchmarks.scheduling.simulator import simulate
from benchmarks.scheduling.workload import SimulatedJob
from core.metrics.delivery.spread import percentile
from core.service.domain.scheduling import Policy, Pool


class WithoutRoom(Policy):
    """The same, but new jobs never begin before those that have begun are `ahead_seconds` ahead."""

    def enough_seconds(self, viewers: int, workers: int, pool: Pool) -> float:  # noqa: ARG002
        return self.ahead_seconds


def mixed(stream: Stream, seeds: Sequence[int]) -> list[Figure]:
    """Of the cheap jobs: stalls, which must not be more than without the rule of room, and first chunks."""
    figures, idle, most = list[Figure](), stream.times.first_mean, None
    for name, policy in (("without room", WithoutRoom()), ("ours", Policy())):
        cheap = cheap_jobs(stream, seeds, policy)
        seen = [stalls(job.committed_at) for job in cheap]
        first = [(job.committed_at[0] - job.created_at) / idle for job in cheap]
        each = round(mean(count for count, _ in seen), 4)
        note = f"{sum(count > 0 for count, _ in seen)} of {len(cheap)} jobs,"
        note += f" {sum(seconds for _, seconds in seen):.1f} s in all"
        p95 = round(percentile(first, 95), 1)
        figures += [
            Figure(f"{stream.name}, {name}: stalls a cheap job", each, "", target=most, note=note),
            Figure(f"{stream.name}, {name}: first chunk p95 of cheap jobs, of the idle one", p95, "x"),
        ]
        most = each
    return figures


def cheap_jobs(stream: Stream, seeds: Sequence[int], policy: Policy) -> list[SimulatedJob]:
    """What has become of the cheap jobs."""
    outcomes = [simulate(stream.jobs(seed), stream.workers, Ours(policy, {})) for seed in seeds]
    return [job for outcome in outcomes for job in outcome.jobs if not job.is_dear]
