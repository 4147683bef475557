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

STEPS = 6
"""Of refinement: long enough to be killed within."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("toy")
    write_random_preset(folder / "presets" / "toy", num_inference_steps=2)
    with running_service(folder, folder / "presets", default_model="toy") as service:
        service.start_workers("toy")
        yield service


def submit(service: Service, schedule: str) -> Job:
    refine = {"schedule": schedule, "steps": STEPS}
    return service.submit(model="toy", prompt="a red circle", num_frames=40, seed=3, refine=refine)


def is_inside(service: Service, job_id: str, schedule: str) -> bool:
    """Steps that count are done: the resumed refinement begins with a state."""
    progress = service.job(job_id).progress
    return progress.refine_step >= 2 and (schedule == "lockstep" or (progress.chunks_refined or 0) >= 1)


@pytest.mark.parametrize("schedule", ["streaming", "lockstep"])
def test_a_worker_killed_while_it_refines_leaves_the_same_bytes(toy: Service, schedule: str) -> None:
    uninterrupted = toy.wait_for_success(submit(toy, schedule).id)
    job = submit(toy, schedule)
    eventually(lambda: is_inside(toy, job.id, schedule), "a step of refinement", seconds=60)
    pid = toy.worker_pid("toy")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert not toy.job(job.id).status.is_terminal
    resumed = toy.wait_for_success(job.id)
    pairs = zip(resumed.chunks, uninterrupted.chunks, strict=True)
    assert all(fetch(str(own.refined_url)) == fetch(str(other.refined_url)) for own, other in pairs)
    assert toy.video(job.id, "refined") == toy.video(uninterrupted.id, "refined")
