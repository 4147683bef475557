"""Whether two workers make twice as many chunks as one: real Celery workers with the fake engine, which sleeps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.scale.costs import redis_use
from core.service.domain.schema import JobStatus
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

STEPS, STEP_SECONDS = 4, 0.1
JOBS, FRAMES = 6, 16 * 30
SECONDS = 12.0
"""That one worker works, and then two."""
LEAST_RATIO = 1.9


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Jobs that none of them ends: chunks per second of one worker, then of two."""
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as name:
        presets = Path(name) / "presets"
        write_fake_preset(presets, "fake", steps=STEPS, step_seconds=STEP_SECONDS)
        with running_service(Path(name), presets, default_model="fake") as service:
            return _measured(service, say)


def _measured(service: Service, say: Callable[[str], None]) -> list[Figure]:
    jobs = [service.submit(num_frames=FRAMES).id for _ in range(JOBS)]
    rates, connections, used = list[float](), list[int](), redis_use(service.redis())
    for number in (1, 2):
        say(f"{number} of 2 workers on the fake engine")
        connections.append(-_connections(service))
        service.start_worker("both", name=f"worker-{number}")
        service.wait_for_chunks(jobs[0], 1)
        time.sleep(1.0)  # the new one has its first chunk
        begun, before = datetime.now().astimezone(), redis_use(service.redis())
        time.sleep(SECONDS)
        used = redis_use(service.redis()).since(before)
        connections[-1] += _connections(service)
        rates.append(rate(_times(service, jobs), begun, SECONDS))
    note = f"chunks of {STEPS * STEP_SECONDS:g} s; {rates[0]:g} and {rates[1]:g} chunks/s"
    ratio = round(rates[1] / rates[0], 3)
    return [
        Figure("two workers, times as many chunks as one", ratio, "x", LEAST_RATIO, "higher", rates, note),
        Figure(
            f"all that a worker asks of Redis for a chunk of {STEPS} steps: CPU",
            round(1000 * used.cpu_seconds / (rates[-1] * SECONDS), 3),
            "ms",
            note=f"{used.commands / (rates[-1] * SECONDS):.0f} commands, messages and probes included",
        ),
        Figure("connections of a worker to Redis", max(connections), "connections", samples=connections),
    ]


def _connections(service: Service) -> int:
    """Open ones of all processes, to both databases."""
    return int(service.redis().info("clients")["connected_clients"])


def _times(service: Service, jobs: Sequence[str]) -> list[datetime]:
    """When the chunks of these jobs were made."""
    found = [service.job(job_id) for job_id in jobs]
    assert all(job.status is not JobStatus.FAILED for job in found), [job.error for job in found]
    return sorted(chunk.created_at for job in found for chunk in job.chunks)


def rate(times: Sequence[datetime], begun: datetime, seconds: float) -> float:
    """Chunks per second made within `seconds` from `begun`."""
    inside = [each for each in times if begun <= each < begun + timedelta(seconds=seconds)]
    return round(len(inside) / seconds, 3)
