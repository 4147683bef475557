"""The scenarios on the real service: Redis, API and workers as processes, jobs by HTTP, the fake engine and `sprites`.

Everything is read through the public API: jobs are posted when the scenario says, and their chunks tell when each was
committed and how long a worker had it. Chunks of the fake engine take the mean seconds of the scenario.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

from benchmarks.figures import Figure
from benchmarks.keys import ADMIN_KEY
from benchmarks.scheduling import scenarios
from benchmarks.scheduling.measures import fairness, stalls
from benchmarks.scheduling.scenarios import Burst, Key, Stream
from benchmarks.scheduling.simulation import LEAST_JAIN, MOST_OF_TURNS, MOST_TIMES_IDLE
from benchmarks.scheduling.workload import PLAYED_SECONDS, SimulatedJob
from core.metrics.delivery.spread import percentile
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.priority import Priority
from core.service.domain.scheduling import Policy
from core.service.domain.schema import JobStatus
from tests.helpers.presets import copy_sprites, write_fake_preset
from tests.helpers.service import Service, running_service

SEED = 1
ALONE = 3
"""Jobs that are posted one after the other to an idle service, to compare with."""
STEPS = 4
SLOW_SECONDS, FAST_SECONDS = 3.0, 0.5
"""Worker seconds of a chunk of the fake engine: slower than the 2 s in which it is watched, and faster."""
SIX = Burst("six jobs at once, slower than playback", (Key("one", 6, 4),), PLAYED_SECONDS / SLOW_SECONDS)
WATCHED = Stream(PLAYED_SECONDS / FAST_SECONDS, 1, 0.9, 20, lengths=(4, 8))
FAIR = Burst(
    "keys with 1, 10 and 100 jobs", (Key("a", 1, 20), Key("b", 10, 4), Key("c", 100, 4)), PLAYED_SECONDS / FAST_SECONDS
)
"""Short enough that the key with one job has work for half a minute."""
SPRITES = Burst("six jobs of sprites at once", (Key("one", 6, 4),), scenarios.SPRITES_SPEED)
FAIR_LONGER = replace(FAIR, name=f"{FAIR.name}, longer", keys=(Key("a", 1, 60), Key("b", 10, 8), Key("c", 100, 4)))
"""Owners within 5 s count as equal, which weighs less the longer it goes on. All have work until the only job ends."""
FAIR_SECONDS = 180.0
"""Twice as long as the longest only job of its key needs with a fair share."""
MANY = Stream(PLAYED_SECONDS / FAST_SECONDS, 16, 0.9, 120, lengths=(4, 8, 15))
SLOWED = 4
"""Times as long as in FAST_SECONDS everything takes beside MANY, playback and waits too: two cores serve 16 workers."""
WAIT_SECONDS = 300.0
FPS = CHUNK_FRAMES / PLAYED_SECONDS
WAITING = "queue"
"""The phase of a chunk's timings in which no worker has it."""


@dataclass(frozen=True)
class Served:
    """A job, with times in seconds since 1970."""

    owner: str
    created_at: float
    committed_at: Sequence[float]
    worked_seconds: Sequence[float]
    """Of a worker, for each chunk."""


def measure(say: Callable[[str], None]) -> list[Figure]:
    """About eight minutes on an idle machine."""
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as name:
        presets = Path(name) / "presets"
        write_fake_preset(presets, "slow", steps=STEPS, step_seconds=SLOW_SECONDS / STEPS)
        write_fake_preset(presets, "fast", steps=STEPS, step_seconds=FAST_SECONDS / STEPS)
        copy_sprites(presets)
        settings = {"admin_key": ADMIN_KEY, "max_queued_jobs": 1000, "lease_ttl_seconds": 30.0}
        with running_service(Path(name), presets, default_model="fast", media="proxy", **settings) as service:
            service.http.headers["Authorization"] = f"Bearer {ADMIN_KEY.get_secret_value()}"
            service.start_workers("slow", "fast", "sprites")
            figures = six_at_once(service, SIX, "slow", say)
            figures += six_at_once(service, SPRITES, "sprites", say)
            figures += watched(service, WATCHED, "fast", say)
            for burst in (FAIR, FAIR_LONGER):
                figures += fair(service, burst, say)
        write_fake_preset(presets, "slowed", steps=STEPS, step_seconds=SLOWED * FAST_SECONDS / STEPS)
        settings |= {"ahead_seconds": SLOWED * Policy().ahead_seconds}
        with running_service(
            Path(name) / "many", presets, default_model="slowed", media="proxy", **settings
        ) as service:
            service.http.headers["Authorization"] = f"Bearer {ADMIN_KEY.get_secret_value()}"
            service.start_workers(*["slowed"] * MANY.workers)
            return figures + watched(service, MANY, "slowed", say, SLOWED)


def six_at_once(service: Service, burst: Burst, model: str, say: Callable[[str], None]) -> list[Figure]:
    """Mean completion, relative to what taking turns with the same chunks would have given."""
    say(f"{burst.name}: {model}")
    jobs = run(service, model, burst.jobs(SEED))
    began = min(job.created_at for job in jobs)
    ends = [job.committed_at[-1] - began for job in jobs]
    in_turns = turns_ends([sum(job.worked_seconds) for job in jobs], [len(job.committed_at) for job in jobs])
    return [
        Figure(
            f"{burst.name}, {model}: mean completion, of that of turns",
            round(mean(ends) / mean(in_turns), 3),
            "x",
            target=MOST_OF_TURNS,
            samples=[round(end, 1) for end in sorted(ends)],
            note=f"samples: seconds; in turns, from the same chunk seconds: {mean(in_turns):.1f} s on average",
        ),
        stalls_figure(f"{burst.name}, {model}", jobs, target=None),
    ]


def turns_ends(worked: Sequence[float], chunks: Sequence[int]) -> list[float]:
    """When jobs of so many worker seconds would have ended had one worker taken turns chunk by chunk."""
    each = [seconds / count for seconds, count in zip(worked, chunks, strict=True)]
    left, now, ends = list(chunks), 0.0, dict[int, float]()
    while any(left):
        for number, seconds in enumerate(each):
            if left[number]:
                now, left[number] = now + seconds, left[number] - 1
                ends[number] = now
    return [ends[number] for number in range(len(each))]


def watched(
    service: Service, stream: Stream, model: str, say: Callable[[str], None], slowed: float = 1.0
) -> list[Figure]:
    """Stalls of viewers and first chunks, while jobs come at random. `slowed`: how many times as long all takes."""
    idle = idle_seconds(service, model, slowed)
    say(f"{stream.count} jobs at random, {stream.name}")
    jobs = run(service, model, stream.jobs(SEED), slowed)
    first = [(job.committed_at[0] - job.created_at) / idle for job in jobs]
    title = f"{stream.name}, fake engine"
    return [
        stalls_figure(title, jobs, target=0, slowed=slowed),
        Figure(
            f"{title}: first chunk p95, of the idle one",
            round(percentile(first, 95), 1),
            "x",
            target=MOST_TIMES_IDLE,
            note=f"median {percentile(first, 50):.1f} x; idle {idle:.2f} s; slowed {slowed:g} times",
        ),
    ]


def idle_seconds(service: Service, model: str, slowed: float) -> float:
    """From the POST to the first chunk of a job that is alone; the median of ALONE."""
    alone = [SimulatedJob(f"alone-{number}", "", Priority.NORMAL, 0.0, (0.0,)) for number in range(ALONE)]
    served = [run(service, model, [job], slowed)[0] for job in alone]
    return median(job.committed_at[0] - job.created_at for job in served)


def fair(service: Service, burst: Burst, say: Callable[[str], None]) -> list[Figure]:
    """Jain's index of served seconds until the only job of its key has ended, or for FAIR_SECONDS; then cancels all."""
    say(burst.name)
    keys = {key.name: _new_key(service, key.name) for key in burst.keys}
    ids = _post(service, "fast", burst.jobs(SEED), keys)
    one = next(job_id for job_id, job in ids.items() if job.owner == "a")
    deadline = time.monotonic() + FAIR_SECONDS
    while not service.job(one).status.is_terminal and time.monotonic() < deadline:
        time.sleep(0.5)
    for job_id in ids:
        service.http.post(f"/jobs/{job_id}/cancel")
    jobs = [_served(service, job_id, job.owner) for job_id, job in ids.items()]
    of_one = next(job for job in jobs if job.owner == "a")
    ended = len(of_one.committed_at) == burst.keys[0].chunks
    until = of_one.committed_at[-1] if ended else max(at for job in jobs for at in job.committed_at)
    served = dict.fromkeys(keys, 0.0)
    for job in jobs:
        for at, seconds in zip(job.committed_at, job.worked_seconds, strict=True):
            served[job.owner] += seconds if at <= until else 0.0
    note = ", ".join(f"{owner} {seconds:.1f} s" for owner, seconds in served.items())
    value = round(fairness(served, burst.shares), 3)
    return [Figure(f"{burst.name}, fake engine: Jain's index", value, "", LEAST_JAIN, "higher", note=note)]


def stalls_figure(title: str, jobs: Sequence[Served], target: float | None, slowed: float = 1.0) -> Figure:
    """Of viewers who begin with the first chunk."""
    seen = [stalls(job.committed_at, slowed * PLAYED_SECONDS) for job in jobs]
    note = f"{sum(seconds for _, seconds in seen):.1f} s in all"
    return Figure(f"{title}: stalls a job", round(mean(count for count, _ in seen), 3), "", target, note=note)


def run(service: Service, model: str, jobs: Sequence[SimulatedJob], slowed: float = 1.0) -> list[Served]:
    """Post `jobs` when they are due, wait until all have ended, and read what became of them."""
    ids = _post(service, model, jobs, {}, slowed)
    for job_id in ids:
        job = service.wait_for_end(job_id, WAIT_SECONDS)
        assert job.status is JobStatus.SUCCEEDED, job.error
    return [_served(service, job_id, job.owner) for job_id, job in ids.items()]


def _post(
    service: Service, model: str, jobs: Sequence[SimulatedJob], keys: Mapping[str, str], slowed: float = 1.0
) -> dict[str, SimulatedJob]:
    """Post each job when it is due, with its owner's key if that has one; by the job's id."""
    started, ids = time.monotonic(), dict[str, SimulatedJob]()
    for job in sorted(jobs, key=lambda job: job.created_at):
        time.sleep(max(0.0, started + slowed * job.created_at - time.monotonic()))
        frames = CHUNK_FRAMES * len(job.seconds)
        body = {"model": model, "prompt": "a red square", "seed": 1, "num_frames": frames, "fps": FPS / slowed}
        headers = {"Authorization": f"Bearer {keys[job.owner]}"} if job.owner in keys else {}
        answer = service.http.post("/jobs", json=body, headers=headers).raise_for_status()
        ids[str(answer.json()["id"])] = job
    return ids


def _new_key(service: Service, name: str) -> str:
    """The text of a new API key."""
    return str(service.http.post("/keys", json={"name": name}).raise_for_status().json()["key"])


def _served(service: Service, job_id: str, owner: str) -> Served:
    job = service.job(job_id)
    return Served(
        owner,
        job.created_at.timestamp(),
        [chunk.created_at.timestamp() for chunk in job.chunks],
        [sum(value for phase, value in chunk.timings.items() if phase != WAITING) for chunk in job.chunks],
    )
