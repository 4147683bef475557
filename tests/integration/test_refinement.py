"""Refinement by real processes: both lanes at once, workers killed, Redis wiped; the refined bytes stay the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from core.service.domain.manifest import frames_prefix
from core.service.domain.schema import Job, JobStatus
from core.service.video.decode import decode_frames
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import FullJob, Service, fetch, running_service
from tests.helpers.video import probe

NUM_FRAMES = 64
STEP_SECONDS = 0.1
STEPS = 6


@pytest.fixture(scope="module")
def refining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One worker that only generates and one that only refines. Tests break it and see it come back by itself."""
    folder = tmp_path_factory.mktemp("refining")
    write_fake_preset(folder / "presets", "slow", steps=STEPS, step_seconds=STEP_SECONDS, refiner=True)
    with running_service(folder, folder / "presets", default_model="slow") as service:
        children = [service.start_worker("cpu", wait=False)]
        children += [service.start_worker(kind, "slow", wait=False) for kind in ("generate", "refine")]
        eventually(lambda: len(service.workers()) == len(children), "all workers", seconds=120)
        yield service


def submit(service: Service, **fields: Any) -> Job:
    return service.submit(**{"model": "slow", "num_frames": NUM_FRAMES, "seed": 3, "refine": True, **fields})


def refined_bytes(job: FullJob) -> list[bytes]:
    assert all(chunk.refined_url for chunk in job.chunks)
    return [fetch(str(chunk.refined_url)) for chunk in job.chunks]


def wait_for_refined(service: Service, job_id: str, count: int) -> FullJob:
    def enough() -> FullJob | None:
        job = service.job(job_id)
        return job if (job.progress.chunks_refined or 0) >= count else None

    return eventually(enough, f"{count} refined chunks of {job_id}", seconds=60)


def wait_until_inside_window(service: Service, job_id: str) -> None:
    eventually(lambda: service.job(job_id).progress.refine_step >= 1, "a step of refinement", seconds=60)


@pytest.fixture(scope="module")
def uninterrupted(refining: Service) -> FullJob:
    return refining.wait_for_success(submit(refining).id)


def test_refined_chunks_follow_while_the_video_grows(refining: Service) -> None:
    job = submit(refining)
    early = wait_for_refined(refining, job.id, 1)
    assert early.status is JobStatus.RUNNING
    live = refining.http.get(f"/jobs/{job.id}/playlist.m3u8", params={"variant": "refined"}).text
    assert "chunks/0.mp4?variant=refined" in live
    ended = refining.wait_for_success(job.id)
    assert ended.progress.chunks_refined == ended.progress.chunks_total
    assert probe(refining.video(job.id)).num_frames == probe(refining.video(job.id, "refined")).num_frames == NUM_FRAMES
    assert len(decode_frames(f"{refining.http.base_url}/jobs/{job.id}/playlist.m3u8?variant=refined")) == NUM_FRAMES
    # To extend it: the exact frames of the last two chunks.
    assert len(list(refining.storage().list(frames_prefix(job.id)))) == 2


def test_every_refined_chunk_has_an_event_with_its_url(refining: Service, uninterrupted: FullJob) -> None:
    text = refining.http.get(f"/jobs/{uninterrupted.id}/events").text
    assert text.count("event: chunk.refined") == len(uninterrupted.chunks)
    assert "chunks/3.mp4?variant=refined" in text


@pytest.mark.parametrize("kind", ["refine", "generate"])
def test_a_worker_killed_while_a_window_is_refined_leaves_the_same_bytes(
    refining: Service, uninterrupted: FullJob, kind: Any
) -> None:
    job = submit(refining)
    wait_until_inside_window(refining, job.id)
    pid = refining.worker_pid("slow", kind)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    resumed = refining.wait_for_success(job.id)
    assert refined_bytes(resumed) == refined_bytes(uninterrupted)
    assert refining.video(job.id, "refined") == refining.video(uninterrupted.id, "refined")
    eventually(lambda: refining.worker_pid("slow", kind) not in {None, pid}, "the worker to be back", seconds=60)


def test_wiped_redis_is_rebuilt_and_refined_to_the_end(refining: Service, uninterrupted: FullJob) -> None:
    job = submit(refining)
    wait_for_refined(refining, job.id, 1)
    client = refining.redis()
    client.flushall()
    client.close()
    eventually(lambda: refining.http.get(f"/jobs/{job.id}").status_code == 200, "the job to be back")
    finished = refining.wait_for_success(job.id)
    assert refined_bytes(finished) == refined_bytes(refining.job(uninterrupted.id))


def test_cancel_keeps_what_exists_of_both_variants(refining: Service) -> None:
    job = submit(refining, num_frames=960)
    wait_for_refined(refining, job.id, 1)
    assert refining.http.post(f"/jobs/{job.id}/cancel").status_code == 202
    ended = refining.wait_for_end(job.id)
    assert ended.status is JobStatus.CANCELED
    refined = [chunk for chunk in ended.chunks if chunk.refined_url]
    assert probe(refining.video(job.id, "refined")).num_frames == 16 * len(refined) > 0


def test_delete_removes_everything_of_both_variants(refining: Service) -> None:
    job = submit(refining, num_frames=960)
    wait_for_refined(refining, job.id, 1)
    assert refining.http.delete(f"/jobs/{job.id}").status_code == 202
    eventually(lambda: not list(refining.storage().list(f"jobs/{job.id}/")), "all objects to go", seconds=60)


def test_one_worker_for_both_lanes_makes_the_same_bytes_in_turn(own_service: Service, uninterrupted: FullJob) -> None:
    own_service.start_workers("refinable")
    request = {"model": "refinable", "num_frames": NUM_FRAMES, "seed": 3, "refine": True}
    first, second = own_service.submit(**request), own_service.submit(**request)
    jobs = [own_service.wait_for_success(job.id) for job in (first, second)]
    assert [refined_bytes(job) for job in jobs] == [refined_bytes(uninterrupted)] * 2
    told = own_service.http.get(f"/jobs/{first.id}/events").text
    assert told.index("event: chunk.refined") < told.rindex("event: chunk.completed")


def test_lockstep_refines_all_windows_at_the_end(refining: Service) -> None:
    ended = refining.wait_for_success(submit(refining, num_frames=40, refine={"schedule": "lockstep", "steps": 3}).id)
    assert [fetch(str(chunk.refined_url))[4:8] for chunk in ended.chunks] == [b"ftyp"] * 3
    assert probe(refining.video(ended.id, "refined")).num_frames == 40
