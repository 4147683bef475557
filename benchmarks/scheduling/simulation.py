"""Runs the scenarios in the simulator, with each policy, and computes the figures."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import mean

from benchmarks.figures import Figure
from benchmarks.scheduling import scenarios
from benchmarks.scheduling.measures import fairness, stalls
from benchmarks.scheduling.mixed import mixed
from benchmarks.scheduling.policies import OldestFirst, Ours, Scheduler, TurnTaking
from benchmarks.scheduling.scenarios import Burst, Stream
from benchmarks.scheduling.simulator import Outcome, simulate
from benchmarks.scheduling.told import told
from benchmarks.scheduling.workload import SimulatedJob
from core.metrics.delivery.spread import percentile
from core.service.domain.scheduling import Policy

SEEDS = (1, 2)
MOST_OF_TURNS = 0.7
LEAST_JAIN = 0.95
MOST_TIMES_IDLE = 3.0
Policies = Mapping[str, Callable[[], Scheduler]]


def policies(shares: Mapping[str, float] | None = None) -> Policies:
    """The policies that are compared, by name."""
    return {"turns": TurnTaking, "oldest first": OldestFirst, "ours": lambda: Ours(Policy(), shares or {})}


def measure(say: Callable[[str], None], *, quick: bool = False) -> list[Figure]:
    """All scenarios in some minutes; `quick`: a few in seconds."""
    say("six jobs at once")
    figures = six_at_once()
    for stream in scenarios.streams(quick):
        say(stream.name)
        figures += watched(stream)
    for stream in scenarios.mixed(quick):
        say(stream.name)
        figures += mixed(stream, SEEDS)
    for burst in (*scenarios.FAIR, scenarios.WEIGHTED):
        say(burst.name)
        figures += fair(burst)
    say("low beside high")
    figures += starved()
    for stream in scenarios.told(quick):
        say(f"told, {stream.name}")
        figures += told(stream, SEEDS)
    for stream in () if quick else (scenarios.NORMAL_ONLY, scenarios.MANY):
        say(f"{stream.count} jobs")
        figures += places(stream)
    return figures


def six_at_once() -> list[Figure]:
    """Mean completion of each policy, relative to turn-taking."""
    ends = dict[str, list[float]]()
    for name, policy in policies().items():
        outcomes = [simulate(scenarios.SIX.jobs(seed), scenarios.SIX.workers, policy()) for seed in SEEDS]
        ends[name] = [mean(job.committed_at[-1] - job.created_at for job in outcome.jobs) for outcome in outcomes]
    return [
        Figure(
            f"{scenarios.SIX.name}: mean completion, of that of turns, {name}",
            round(mean(values) / mean(ends["turns"]), 3),
            "x",
            target=MOST_OF_TURNS if name == "ours" else None,
            samples=[round(value, 1) for value in values],
            note="samples: seconds, one a seed",
        )
        for name, values in ends.items()
        if name != "turns"
    ]


def watched(stream: Stream) -> list[Figure]:
    """Stalls of viewers, and how long first chunks take, relative to an idle service."""
    figures, idle = list[Figure](), stream.times.first_mean
    for name, policy in policies().items():
        jobs = [job for seed in SEEDS for job in simulate(stream.jobs(seed), stream.workers, policy()).jobs]
        seen = [stalls(job.committed_at) for job in jobs]
        first = [(job.committed_at[0] - job.created_at) / idle for job in jobs]
        ours = name == "ours"
        figures += [
            Figure(
                f"{stream.name}, {name}: stalls a job",
                round(mean(count for count, _ in seen), 4),
                "",
                target=0 if ours else None,
                note=f"{sum(count > 0 for count, _ in seen)} of {len(jobs)} jobs,"
                f" {sum(seconds for _, seconds in seen):.1f} s in all",
            ),
            Figure(
                f"{stream.name}, {name}: first chunk p95, of the idle one",
                round(percentile(first, 95), 1),
                "x",
                target=MOST_TIMES_IDLE if ours else None,
                note=f"median {percentile(first, 50):.1f} x; idle {idle:.2f} s",
            ),
        ]
    return figures


def fair(burst: Burst) -> list[Figure]:
    """Jain's index of served seconds until the first key has no more work."""
    figures = list[Figure]()
    for name, policy in policies(burst.shares).items():
        samples = list[float]()
        for seed in SEEDS:
            outcome = simulate(burst.jobs(seed), burst.workers, policy())
            served = served_until(outcome, first_end(outcome))
            samples.append(round(fairness(served, burst.shares), 4))
        target = LEAST_JAIN if name == "ours" else None
        figures.append(
            Figure(f"{burst.name}, {name}: Jain's index", round(mean(samples), 4), "", target, "higher", samples)
        )
    return figures


def first_end(outcome: Outcome) -> float:
    """When the first owner has no more work."""
    ends = dict[str, float]()
    for piece in outcome.pieces:
        ends[piece.job.owner] = piece.ended_at
    return min(ends.values())


def served_until(outcome: Outcome, at: float) -> dict[str, float]:
    """Worker seconds of each owner until then."""
    served = dict.fromkeys(sorted({job.owner for job in outcome.jobs}), 0.0)
    for piece in outcome.pieces:
        served[piece.job.owner] += max(0.0, min(at, piece.ended_at) - piece.started_at)
    return served


def starved() -> list[Figure]:
    """The longest time in which nobody worked at a job of class low that was not finished, while the load lasts."""
    figures = list[Figure]()
    for name, policy in policies().items():
        longest, ended, lasts = 0.0, 0, 0.0
        for seed in SEEDS:
            low, high = scenarios.STARVED.jobs(seed), scenarios.STARVING.jobs(seed)
            lasts = high[-1].created_at
            simulate([*low, *high], scenarios.STARVING.workers, policy(), until=lasts)
            longest = max(longest, *(longest_wait(job, lasts) for job in low))
            ended += sum(job.has_ended for job in low)
        figures.append(
            Figure(
                f"{scenarios.STARVED.name}, {name}: longest wait",
                round(longest, 1),
                "s",
                note=f"{ended} of {len(SEEDS) * 5} finished in {lasts:.0f} s",
            )
        )
    return figures


def longest_wait(job: SimulatedJob, until: float) -> float:
    """Of the times between its creation, its commits and, if it is not finished, `until`."""
    marks = [job.created_at, *job.committed_at, *([] if job.has_ended else [until])]
    return max(after - before for before, after in pairwise(marks))


def places(stream: Stream) -> list[Figure]:
    """How far the place in the queue that a job was told when it came is from the number of starts until its own."""
    errors, said_of = list[float](), list[int]()
    for seed in SEEDS:
        policy = Ours(Policy(), {})
        outcome = simulate(stream.jobs(seed), stream.workers, policy)
        for said, real in said_and_real(outcome.jobs, policy.said):
            errors.append(real - said)
            said_of.append(said)
    waiting = [(error, said) for error, said in zip(errors, said_of, strict=True) if said > 1]
    shares = [error / said for error, said in waiting] or [0.0]
    mix = "one class" if len(stream.classes) == 1 else "three classes"
    title = f"{stream.count} jobs, {stream.workers} workers, {stream.keys} keys, {mix}"
    note = f"{len(waiting)} jobs that waited; 10th and 90th percentile {percentile(shares, 10):.0%} and"
    note += f" {percentile(shares, 90):.0%}; longest place said {max(said_of)}"
    return [
        Figure(
            f"{title}: real place beyond the said one, median", round(100 * percentile(shares, 50), 1), "%", note=note
        )
    ]


def said_and_real(jobs: Iterable[SimulatedJob], said: Mapping[str, int]) -> Sequence[tuple[int, int]]:
    """For each job the place that it was told, and how many jobs, itself included, have started since then until it
    did."""
    started = sorted((job for job in jobs if job.started_at is not None), key=lambda job: (job.started_at, job.id))
    times = [job.started_at or 0.0 for job in started]
    return [(said[job.id], number + 1 - bisect_left(times, job.created_at)) for number, job in enumerate(started)]
