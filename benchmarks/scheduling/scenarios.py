"""The scenarios, as data: what comes, and how many workers there are. The simulator and the real run read the same."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.scheduling.workload import ChunkTimes, SimulatedJob, recorded
from core.service.domain.priority import Priority

SPRITES_SPEED = recorded().speed
"""Of `sprites` on two cores: seconds played per worker second."""
SLOW_SPEED = 0.45
"""One job of 64 frames takes 17 s, as when six jobs at once were first measured."""
MIX = (4, 8, 15, 30)
"""Lengths in chunks, drawn with equal chances: 8, 16, 30 and 60 seconds of video."""
LOADS = (0.5, 0.7, 0.8, 0.9)
"""Worker seconds asked for per worker second that there is."""
WORKERS = (1, 8, 32)
SPEEDS = (1.2, 3.0, SPRITES_SPEED)
MIXED_SPEED = 6.67
DEAR_SPEEDS = (1.11, 0.333)
"""Six and twenty times as dear: a little faster than playback, and slower."""
DEAR_SHARE = 0.1


@dataclass(frozen=True)
class Key:
    """An API key that posts `jobs` jobs of `chunks` chunks at the start."""

    name: str
    jobs: int
    chunks: int
    share: float = 1.0
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True)
class Burst:
    """All jobs come at once, in the order of their keys in turn."""

    name: str
    keys: Sequence[Key]
    speed: float
    workers: int = 1

    @property
    def shares(self) -> Mapping[str, float]:
        return {key.name: key.share for key in self.keys}

    def jobs(self, seed: int) -> list[SimulatedJob]:
        """Fresh jobs, 0.01 s apart, so that there is an order."""
        draws, times = random.Random(seed), recorded().scaled(self.speed)  # noqa: S311 - a simulation
        turns = sorted((number, key.name, key) for key in self.keys for number in range(key.jobs))
        return [
            SimulatedJob(f"{name}-{number:04}", name, key.priority, 0.01 * at, times.draw(key.chunks, draws))
            for at, (number, name, key) in enumerate(turns)
        ]


@dataclass(frozen=True)
class Stream:
    """Jobs come at random (Poisson), from `keys` keys with equal chances, until `count` have come."""

    speed: float
    workers: int
    load: float
    count: int
    keys: int = 1
    lengths: Sequence[int] = MIX
    classes: Sequence[Priority] = (Priority.NORMAL,)
    """Drawn with equal chances; one that is named twice is twice as frequent."""
    dear_speed: float | None = None
    """Speed of a tenth of the jobs (DEAR_SHARE), whose chunks cost more; None: all cost the same."""

    @property
    def name(self) -> str:
        keys = "1 key" if self.keys == 1 else f"{self.keys} keys"
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        speeds = f"speed {self.speed:.3g}"
        if self.dear_speed is not None:
            speeds = f"mixed speeds {self.speed:.3g} and {self.dear_speed:.3g}"
        return f"{speeds}, {workers}, {keys}, load {100 * self.load:.0f} %"

    @property
    def times(self) -> ChunkTimes:
        return recorded().scaled(self.speed)

    def jobs(self, seed: int) -> list[SimulatedJob]:
        """Fresh jobs."""
        draws, cheap = random.Random(seed), self.times  # noqa: S311 - a simulation
        dear = cheap if self.dear_speed is None else recorded().scaled(self.dear_speed)
        each = [(1 - DEAR_SHARE) * cheap.seconds_of(one) + DEAR_SHARE * dear.seconds_of(one) for one in self.lengths]
        rate = self.load * self.workers / mean(each)
        made, now = list[SimulatedJob](), 0.0
        for number in range(self.count):
            now += draws.expovariate(rate)
            owner, priority = f"key-{draws.randrange(self.keys)}", draws.choice(self.classes)
            is_dear = self.dear_speed is not None and draws.random() < DEAR_SHARE
            seconds = (dear if is_dear else cheap).draw(draws.choice(self.lengths), draws)
            made.append(SimulatedJob(f"job-{number:05}", owner, priority, now, seconds, is_dear=is_dear))
        return made


SIX = Burst("six jobs at once, slower than playback", (Key("one", 6, 4),), SLOW_SPEED)
FAIR = tuple(
    Burst(
        f"keys with 1, 10 and 100 jobs, speed {speed:.3g}, {workers} worker{'s' * (workers > 1)}", keys, speed, workers
    )
    for keys in [(Key("a", 1, 150), Key("b", 10, 20), Key("c", 100, 20))]
    for speed in (SLOW_SPEED, SPRITES_SPEED)
    for workers in (1, 2)
)
WEIGHTED = Burst(
    "the same with shares 1, 2 and 4, slower than playback",
    (Key("a", 1, 100), Key("b", 10, 20, share=2), Key("c", 100, 20, share=4)),
    SLOW_SPEED,
)
STARVING = Stream(SPRITES_SPEED, 1, 1.5, 600, classes=(Priority.HIGH,))
"""More of class high than a worker can make, beside STARVED jobs of class low that come first."""
STARVED = Burst("low beside an endless load of high", (Key("low", 5, 8, priority=Priority.LOW),), SPRITES_SPEED)
MANY = Stream(
    SPRITES_SPEED,
    32,
    1.05,
    5000,
    keys=50,
    classes=(Priority.HIGH, *[Priority.NORMAL] * 7, Priority.LOW, Priority.LOW),
)
"""Thousands of jobs: a little more than 32 workers can make, for an hour."""
NORMAL_ONLY = Stream(SPRITES_SPEED, 32, 1.05, 5000, keys=50)


def streams(quick: bool) -> list[Stream]:
    """All loads, speeds and numbers of workers with one key; three keys and twenty at 90 %. `quick`: a few."""
    if quick:
        return [Stream(SPRITES_SPEED, workers, 0.9, 150 * workers) for workers in (1, 4)]
    counts = {1: 400, 8: 1000, 32: 2000}
    alone = [Stream(speed, n, load, counts[n]) for speed in SPEEDS for n in WORKERS for load in LOADS]
    shared = [Stream(speed, n, 0.9, counts[n], keys) for speed in SPEEDS for n in WORKERS for keys in (3, 20)]
    return alone + shared


def mixed(quick: bool) -> list[Stream]:
    """Jobs of one pool whose chunks cost differently. `quick`: one."""
    if quick:
        return [Stream(MIXED_SPEED, 2, 0.8, 60, dear_speed=DEAR_SPEEDS[1])]
    counts = {1: 400, 8: 800, 32: 1500}
    return [
        Stream(MIXED_SPEED, workers, load, counts[workers], dear_speed=dear)
        for workers in WORKERS
        for dear in DEAR_SPEEDS
        for load in (0.5, 0.8)
    ]


def told(quick: bool) -> list[Stream]:
    """Where jobs wait: below and above what the workers can make, with one key and with several. `quick`: one."""
    if quick:
        return [Stream(SPRITES_SPEED, 2, 0.9, 60, keys=3)]
    return [
        Stream(speed, workers, load, 200 * min(workers, 4), keys)
        for speed in (SLOW_SPEED, SPRITES_SPEED)
        for workers, keys in ((1, 1), (8, 1), (8, 3), (8, 20), (32, 20))
        for load in (0.8, 1.05)
    ]
