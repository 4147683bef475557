"""What `longtake delivery` measures of jobs of the running service, beside what the service itself tells of them."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

from cli.commands.delivery import read_delivery
from client import Longtake
from core.service.domain.schema import EventType, JobEvent, JobStatus
from tests.helpers.service import Service

CHUNKS = 3


@pytest.fixture
def client(service: Service) -> Longtake:
    return Longtake(str(service.http.base_url))


def log_of(client: Longtake, job_id: str) -> list[JobEvent]:
    events = client.jobs.get(job_id).past_events()
    return [JobEvent.model_validate_json(event.data) for event in events]


def test_a_job_s_delivery_is_what_its_events_say(service: Service, client: Longtake) -> None:
    job_id = service.submit(model="slow", num_frames=16 * CHUNKS).id
    done = service.wait_for_success(job_id)
    with client:
        log, delivery = log_of(client, job_id), read_delivery(client.jobs.get(job_id))
    at = {kind: [event.at for event in log if event.type == kind] for kind in EventType}
    queued, chunks = at[EventType.JOB_QUEUED][0], at[EventType.CHUNK_COMPLETED]
    (run,) = delivery.generations
    assert run.preview is not None
    assert (delivery.notes, run.outcome, run.preview.num_chunks) == ([], "succeeded", CHUNKS)
    assert run.preview.first_chunk_seconds == pytest.approx((chunks[0] - queued).total_seconds(), abs=1e-5)
    assert run.preview.gap_seconds == pytest.approx(
        [(after - before).total_seconds() for before, after in pairwise(chunks)], abs=1e-5
    )
    assert run.whole_video_seconds == pytest.approx((at[EventType.JOB_SUCCEEDED][0] - queued).total_seconds(), abs=1e-5)
    # The record agrees.
    assert done.first_chunk_at is not None
    assert done.started_at is not None
    assert run.queue_seconds == pytest.approx((done.started_at - done.created_at).total_seconds(), abs=1e-5)
    assert run.preview.first_chunk_seconds == pytest.approx(
        (done.first_chunk_at - done.created_at).total_seconds(), abs=1e-5
    )


def test_a_running_job_is_measured_without_waiting_for_its_end(service: Service, client: Longtake) -> None:
    job_id = service.submit(model="slow", num_frames=16 * 40).id
    service.wait_for_chunks(job_id, 2)
    with client:
        delivery = read_delivery(client.jobs.get(job_id))
        assert service.job(job_id).status is JobStatus.RUNNING
        (run,) = delivery.generations
        assert (run.outcome, run.preview is not None and run.preview.num_chunks >= 2) == (None, True)
        client.jobs.get(job_id).cancel()
        service.wait_for_end(job_id)
        assert read_delivery(client.jobs.get(job_id)).generations[0].outcome == "canceled"


def test_each_generation_is_measured(service: Service, client: Longtake) -> None:
    job_id = service.submit(num_frames=24).id
    service.wait_for_success(job_id)
    with client:
        client.jobs.get(job_id).extend(24)
        service.wait_for_success(job_id)
        first, second = read_delivery(client.jobs.get(job_id)).generations
    assert first.preview is not None
    assert second.preview is not None
    assert (first.preview.num_frames, second.preview.num_frames) == (24, 16)  # the short chunk is only completed


def test_the_command_names_a_job_that_is_not_there(service: Service) -> None:
    job_id = service.submit(num_frames=16).id
    service.wait_for_success(job_id)
    command = [sys.executable, "-m", "cli.main", "delivery", job_id, "job_nobody", "--url", str(service.http.base_url)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"1 {job_id}" in ended.stdout
    assert "no job job_nobody" in ended.stderr
