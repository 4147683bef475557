"""The schedule of jobs, cancels, deletions and faults, drawn from one seed. Pure.

The same seed and options give the same schedule. What the processes make of it depends on the machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.chaos.faults.all_faults import ALL_FAULTS
from tests.chaos.faults.fault import Fault

FIRST_FAULT_SECONDS = 2.0
CALM_SECONDS = (1.5, 4.5)
"""Least and longest pause after a fault, so that work moves on."""
OVERLAP_SHARE = 0.25
"""Of the faults that last, this share is joined by another one."""
MARGIN_SECONDS = 1.0
"""The last fault is lifted this long before the end."""
LONGEST_SHARE = 0.1
"""No fault takes more than this share of a run."""
LAST_JOB_SHARE = 0.85
"""No job is submitted after this share of a run."""

Fate = Literal["to its end", "cancel", "delete", "delete at a commit", "delete once ended"]


@dataclass(frozen=True)
class JobKind:
    """A sort of request. Frames decide the number of chunks; `refine` the number of refinement pieces."""

    name: str
    num_frames: int
    refine: str | None = None

    def request(self, seed: int) -> dict[str, Any]:
        """What decides the video's bytes."""
        refine = {"refine": {"schedule": self.refine}} if self.refine else {}
        return {"prompt": "a red square", "num_frames": self.num_frames, "seed": seed, **refine}


KINDS = (
    JobKind("short", 20),
    JobKind("medium", 80),
    JobKind("long", 192),
    JobKind("streaming", 80, "streaming"),
    JobKind("lockstep", 48, "lockstep"),
)
KIND_WEIGHTS = (4, 3, 1, 2, 1)
SEEDS = (3, 4)
FATES: tuple[Fate, ...] = ("to its end", "cancel", "delete", "delete at a commit", "delete once ended")
FATE_WEIGHTS = (14, 2, 1, 2, 1)


@dataclass(frozen=True)
class PlannedJob:
    """A job to be submitted `at` seconds. The fate comes `fate_seconds` after the 202, or at commit `fate_chunk`."""

    number: int
    at: float
    kind: JobKind
    seed: int
    fate: Fate
    fate_seconds: float
    fate_chunk: int
    webhook_events: tuple[str, ...]


@dataclass(frozen=True)
class PlannedFault:
    at: float
    fault: Fault

    @property
    def lifted_at(self) -> float:
        return self.at + self.fault.seconds


@dataclass(frozen=True)
class Plan:
    seed: int
    seconds: float
    jobs: tuple[PlannedJob, ...]
    faults: tuple[PlannedFault, ...]


def make_plan(seed: int, seconds: float, num_jobs: int) -> Plan:
    """The whole schedule of a run of `seconds` with `num_jobs` jobs."""
    jobs = sorted(_jobs(random.Random(f"{seed} jobs"), seconds, num_jobs), key=lambda job: job.at)  # noqa: S311 - repeatable
    faults = tuple(_faults(random.Random(f"{seed} faults"), seconds))  # noqa: S311 - repeatable
    return Plan(seed, seconds, tuple(jobs), faults)


def _jobs(chance: random.Random, seconds: float, count: int) -> Iterator[PlannedJob]:
    """A steady stream with some unevenness."""
    pace = LAST_JOB_SHARE * seconds / max(1, count)
    for number in range(count):
        (kind,) = chance.choices(KINDS, KIND_WEIGHTS)
        (fate,) = chance.choices(FATES, FATE_WEIGHTS)
        yield PlannedJob(
            number=number,
            at=pace * (number + chance.random()),
            kind=kind,
            seed=chance.choice(SEEDS),
            fate=fate,
            fate_seconds=chance.uniform(0.1, 5.0),
            fate_chunk=chance.randrange(max(1, kind.num_frames // 16)),
            webhook_events=chance.choice(((), ("job.succeeded", "job.failed", "job.canceled"), _EVERYTHING)),
        )


_EVERYTHING = ("job.succeeded", "job.failed", "job.canceled", "chunk.completed", "chunk.refined")


def _faults(chance: random.Random, seconds: float) -> Iterator[PlannedFault]:
    """Every kind once, in random order, before any comes a second time."""
    at, free_at = FIRST_FAULT_SECONDS, dict.fromkeys(("workers", "api", "redis", "s3"), 0.0)
    for kind in _deck(chance, seconds):
        at = max(at, free_at[kind.group])
        planned = PlannedFault(at, kind(_duration(chance, kind, seconds), chance.random()))
        if planned.lifted_at > seconds - MARGIN_SECONDS:
            return
        yield planned
        free_at[kind.group] = planned.lifted_at + CALM_SECONDS[0]
        overlaps = planned.fault.seconds > 1 and chance.random() < OVERLAP_SHARE
        at += chance.uniform(0.3, 1.0) * planned.fault.seconds if overlaps else planned.fault.seconds
        at += 0 if overlaps else chance.uniform(*CALM_SECONDS)


def _deck(chance: random.Random, seconds: float) -> Iterator[type[Fault]]:
    fitting: Sequence[type[Fault]] = [fault for fault in ALL_FAULTS if fault.only_in_runs_of_seconds <= seconds]
    while True:
        yield from chance.sample(fitting, len(fitting))


def _duration(chance: random.Random, kind: type[Fault], seconds: float) -> float:
    longest = min(kind.longest_seconds, max(kind.shortest_seconds, LONGEST_SHARE * seconds))
    return chance.uniform(kind.shortest_seconds, longest)
