"""Delivery of several jobs at once on the real service: what the viewers of all of them had.

Redis, API and workers run as processes, jobs come by HTTP, and all is read from the jobs' event logs through the public
API, as `longtake delivery` reads it. The engine is the fake one, whose chunks take a set time, so that the figures are
those of the service and of its scheduling: two workers, with less to do than they can, with more, and with chunks that
take longer than they play.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from cli.commands.delivery import read_delivery
from client import Longtake
from core.metrics.delivery.measure import JobDelivery
from core.metrics.delivery.several import measure_several
from core.metrics.delivery.spread import Spread
from core.service.domain.frame_plan import CHUNK_FRAMES
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

WORKERS = 2
STEPS = 4
FPS = 8
CHUNKS = 6
"""Of each job: 12 s of video."""
WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Load:
    """So many jobs posted at once, whose chunks take a worker so long."""

    jobs: int
    chunk_seconds: float

    @property
    def preset(self) -> str:
        return f"chunk-{self.chunk_seconds:g}".replace(".", "-")

    @property
    def title(self) -> str:
        number = "one job" if self.jobs == 1 else f"{self.jobs} jobs at once"
        return f"{number}, {self.chunk_seconds:g} s a chunk"


LOADS = (Load(1, 0.5), Load(4, 0.5), Load(8, 1.0), Load(4, 3.0))
"""A chunk plays for 2 s. Two workers make those of the second load twice as fast as four viewers see them, of the third
half as fast as eight do, and of the last each job slower than its own viewer sees it."""


def measure(say: Callable[[str], None]) -> list[Figure]:
    """A minute and a half."""
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as name:
        presets = Path(name) / "presets"
        chunk_seconds = {load.preset: load.chunk_seconds for load in LOADS}
        for preset, seconds in chunk_seconds.items():
            write_fake_preset(presets, preset, steps=STEPS, step_seconds=seconds / STEPS)
        figures = list[Figure]()
        with running_service(Path(name), presets, default_model=LOADS[0].preset, media="proxy") as service:
            service.start_workers(*(preset for preset in chunk_seconds for _ in range(WORKERS)))
            with Longtake(str(service.http.base_url)) as client:
                for load in LOADS:
                    say(load.title)
                    figures += figures_of(load.title, run(service, client, load))
        return figures


def run(service: Service, client: Longtake, load: Load) -> list[JobDelivery]:
    """Post all jobs, wait until they have succeeded, and measure them."""
    frames = CHUNK_FRAMES * CHUNKS
    ids = [service.submit(model=load.preset, num_frames=frames, fps=FPS, seed=seed).id for seed in range(load.jobs)]
    for job_id in ids:
        service.wait_for_success(job_id, WAIT_SECONDS)
    return [read_delivery(client.jobs.get(job_id)) for job_id in ids]


def figures_of(title: str, measured: Sequence[JobDelivery]) -> list[Figure]:
    """The figures of all these jobs together; the value of a spread is its median."""
    several = measure_several(measured)
    made = [one.preview for job in measured for one in job.generations if one.preview]

    def spread(name: str, values: Spread | None, unit: str, samples: Sequence[float] = ()) -> Figure:
        if values is None:
            return Figure(f"{title}: {name}", None, unit)
        note = f"p50 {values.p50:.2f}, p95 {values.p95:.2f}, p99 {values.p99:.2f}, max {values.max:.2f}"
        rounded = [round(one, 3) for one in samples]
        return Figure(f"{title}: {name}", round(values.p50, 3), unit, samples=rounded, note=note)

    first = sorted(one.first_chunk_seconds for one in made)
    stalled = sorted(one.viewing.stalled_seconds for one in made)
    buffers = sorted(one.smallest_buffer_seconds for one in made)
    met, due = several.deadlines_met, several.num_deadlines
    figures = [
        spread("time to first chunk", several.first_chunk_seconds, "s", first),
        spread("gap between chunks", several.gap_seconds, "s"),
        spread("stalled seconds of a viewer", several.stalled_seconds, "s", stalled),
        spread("stalls of a viewer", several.stalls, ""),
        spread("smallest start-up buffer without a stall", several.smallest_buffer_seconds, "s", buffers),
        spread("real-time factor", several.realtime_factor, "x"),
        spread("whole video", several.whole_video_seconds, "s"),
        Figure(f"{title}: deadlines met", round(met / due, 3) if due else None, "", note=f"{met} of {due} chunks"),
    ]
    if several.fairness is not None:
        note = "of seconds of video per second since the job was queued"
        figures.append(Figure(f"{title}: Jain's index", round(several.fairness, 3), "", note=note))
    return figures
