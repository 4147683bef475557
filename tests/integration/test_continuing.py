"""Extend, retry and branch through the whole service, also with workers that are killed in the midst."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from core.service.domain.schema import Job, JobStatus
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import FullJob, Service, fetch, running_service
from tests.helpers.video import probe

BLUE = "a blue square"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Workers for `slow`, whose chunks take 0.8 s; the refined ones a little."""
    folder = tmp_path_factory.mktemp("continuing")
    write_fake_preset(folder / "presets", "slow", steps=8, step_seconds=0.1, refiner=True)
    with running_service(folder, folder / "presets", default_model="slow") as service:
        service.start_workers("slow")
        yield service


def submit(service: Service, num_frames: int, **fields: Any) -> Job:
    return service.submit(model="slow", num_frames=num_frames, seed=3, **fields)


def post(service: Service, path: str, **body: Any) -> Job:
    answer = service.http.post(path, json=body or None)
    assert answer.status_code == 202, answer.text
    return Job.model_validate_json(answer.content)


def hashes(job: FullJob) -> list[str]:
    return [chunk.sha256 for chunk in job.chunks]


def kill_inside_chunk(service: Service, job_id: str, index: int) -> None:
    """kill -9 the worker once chunk `index` (or a later one) has taken a step."""

    def inside() -> bool:
        progress = service.job(job_id).progress
        return progress.frames_done >= 16 * index and progress.step >= 1

    eventually(inside, f"a step of chunk {index}")
    os.kill(service.worker_pid("slow") or 0, signal.SIGKILL)


@pytest.fixture(scope="module")
def whole(slow: Service) -> FullJob:
    """96 frames made at once."""
    return slow.wait_for_success(submit(slow, 96).id)


@pytest.mark.parametrize(("first", "killed_in"), [(48, 3), (40, 2)])
def test_an_extension_whose_worker_is_killed_has_the_bytes_of_one_job(
    slow: Service, whole: FullJob, first: int, killed_in: int
) -> None:
    """From the end of a chunk, killed in the first one after it; and from the midst of a chunk, killed while that is
    made anew."""
    job = slow.wait_for_success(submit(slow, first).id)
    links, old = job.links, slow.video(job.id)
    extended = post(slow, f"/jobs/{job.id}/extend", num_frames=96 - first)
    assert (extended.links, extended.generation) == (links, 1)
    assert slow.video(job.id) == old
    kill_inside_chunk(slow, job.id, killed_in)
    done = slow.wait_for_success(job.id)
    assert hashes(done) == hashes(whole)
    assert slow.video(job.id) == slow.video(whole.id)
    assert probe(links.playlist).num_frames == 96


def test_a_refined_extension_keeps_what_is_published_and_goes_on_exactly(slow: Service) -> None:
    made = slow.wait_for_success(submit(slow, 72, refine=True).id)
    job = slow.wait_for_success(submit(slow, 40, refine=True).id)
    before = [fetch(chunk.refined_url or "") for chunk in job.chunks]
    post(slow, f"/jobs/{job.id}/extend", num_frames=32)
    kill_inside_chunk(slow, job.id, 3)
    done = slow.wait_for_success(job.id)
    after = [fetch(chunk.refined_url or "") for chunk in done.chunks]
    assert after[:2] == before[:2]
    assert after[2:] == [fetch(chunk.refined_url or "") for chunk in made.chunks][2:]
    assert hashes(done) == hashes(made)


def test_a_canceled_job_that_is_retried_has_the_bytes_of_one_job(slow: Service, whole: FullJob) -> None:
    job = submit(slow, 96)
    slow.wait_for_chunks(job.id, 2)
    post(slow, f"/jobs/{job.id}/cancel")
    assert slow.wait_for_end(job.id).status is JobStatus.CANCELED
    assert post(slow, f"/jobs/{job.id}/retry").status is JobStatus.QUEUED
    kill_inside_chunk(slow, job.id, 3)
    assert hashes(slow.wait_for_success(job.id)) == hashes(whole)


def test_branches_share_what_was_before_and_outlive_their_source(slow: Service, whole: FullJob) -> None:
    source = submit(slow, 96)
    slow.wait_for_chunks(source.id, 3)
    same = post(slow, f"/jobs/{source.id}/branch", from_chunk=2)
    blue = post(slow, f"/jobs/{source.id}/branch", from_chunk=2, prompt=BLUE)
    for job in (same, blue):
        slow.wait_for_chunks(job.id, 2)
    slow.http.delete(f"/jobs/{source.id}")
    kill_inside_chunk(slow, same.id, 2)
    assert hashes(slow.wait_for_success(same.id)) == hashes(whole)
    prompts = [{"start_frame": 0, "text": source.request.prompt}, {"start_frame": 32, "text": BLUE}]
    scheduled = slow.wait_for_success(submit(slow, 96, prompt=None, prompts=prompts).id)
    assert hashes(slow.wait_for_success(blue.id)) == hashes(scheduled)
    assert slow.video(same.id) == slow.video(whole.id)


def test_a_job_that_went_on_survives_the_loss_of_redis(slow: Service, whole: FullJob) -> None:
    job = slow.wait_for_success(submit(slow, 40).id)
    post(slow, f"/jobs/{job.id}/extend", num_frames=56)
    slow.wait_for_chunks(job.id, 4)
    slow.redis().flushdb()
    eventually(lambda: slow.http.get(f"/jobs/{job.id}").is_success, "the job to be rebuilt")
    assert slow.job(job.id).generation == 1
    done = slow.wait_for_success(job.id)
    assert hashes(done) == hashes(whole)
    log = slow.http.get(f"/jobs/{job.id}/events").text
    assert log.count("event: job.queued\n") == log.count("event: job.succeeded\n") == 2


def test_nothing_is_left_over(slow: Service) -> None:
    slow.check_that_nothing_is_left()
