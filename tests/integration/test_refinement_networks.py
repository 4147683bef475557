"""Refinement with real networks (untrained, tiny) in real processes: killed during a job, the bytes are the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from core.service.domain.schema import Job
from tests.helpers.deadline import eventually
from tests.helpers.random_preset import write_random_preset
from tests.helpers.service import Service, fetch, running_service

STEPS = 16
"""Of refinement: long enough to be killed within."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("toy")
    write_random_preset(folder / "presets" / "toy")
    with running_service(folder, folder / "presets", default_model="toy") as service:
        service.start_workers("toy")
        yield service


def submit(service: Service, schedule: str) -> Job:
    refine = {"schedule": schedule, "steps": STEPS}
    return service.submit(model="toy", prompt="a red circle", num_frames=40, seed=3, refine=refine)


@pytest.mark.parametrize("schedule", ["streaming", "lockstep"])
def test_a_worker_killed_while_it_refines_leaves_the_same_bytes(toy: Service, schedule: str) -> None:
    uninterrupted = toy.wait_for_success(submit(toy, schedule).id)
    job = submit(toy, schedule)
    eventually(lambda: toy.job(job.id).progress.refine_step >= 2, "a step of refinement", seconds=60)
    pid = toy.worker_pid("toy")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    resumed = toy.wait_for_success(job.id)
    pairs = zip(resumed.chunks, uninterrupted.chunks, strict=True)
    assert all(fetch(str(own.refined_url)) == fetch(str(other.refined_url)) for own, other in pairs)
    assert toy.video(job.id, "refined") == toy.video(uninterrupted.id, "refined")
