"""Parts of the service die, send wrong data or lose their data; no job is lost."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from core.service.domain.schema import Job, JobStatus
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import FullJob, Service, fetch, running_service
from tests.helpers.video import probe

NUM_FRAMES = 64


def hashes(job: FullJob) -> list[str]:
    return [chunk.sha256 for chunk in job.chunks]


def without_urls(job: FullJob) -> FullJob:
    """The job with what lasts: presigned URLs are others after each full hour."""
    return job.model_copy(update={"chunks": [chunk.model_copy(update={"url": ""}) for chunk in job.chunks]})


@pytest.fixture(scope="module")
def slow_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Workers for `slow` and the CPU tasks. Tests break it, one after the other, and see it come back by itself."""
    folder = tmp_path_factory.mktemp("slow")
    write_fake_preset(folder / "presets", "slow", steps=8, step_seconds=0.1)
    with running_service(folder, folder / "presets", default_model="slow") as service:
        service.start_workers("slow")
        yield service


def submit_slow(service: Service) -> Job:
    return service.submit(model="slow", num_frames=NUM_FRAMES, seed=3)


def wait_until_inside_chunk(service: Service, job_id: str, index: int) -> None:
    """Until chunk `index` (or, on a machine too busy to look that often, a later one) has taken a step."""

    def inside() -> bool:
        progress = service.job(job_id).progress
        return progress.chunks_done >= index and progress.step >= 1

    eventually(inside, f"a step of chunk {index}")


def test_worker_killed_in_a_chunk_leaves_a_video_of_the_same_bytes(slow_service: Service) -> None:
    uninterrupted = slow_service.wait_for_success(submit_slow(slow_service).id)
    job = submit_slow(slow_service)
    wait_until_inside_chunk(slow_service, job.id, 1)
    pid = slow_service.worker_pid("slow")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    resumed = slow_service.wait_for_success(job.id)
    assert hashes(resumed) == hashes(uninterrupted)
    assert slow_service.video(job.id) == slow_service.video(uninterrupted.id)
    assert slow_service.worker_pid("slow") not in {None, pid}


def test_worker_killed_in_a_steered_job_leaves_a_video_of_the_same_bytes(slow_service: Service) -> None:
    job = submit_slow(slow_service)
    wait_until_inside_chunk(slow_service, job.id, 1)
    answer = slow_service.http.patch(f"/jobs/{job.id}", json={"prompt": "a blue square"}).json()
    frame = answer["acts_from_frame"]
    assert frame in {32, 48}, "the chunk after the one in work"
    wait_until_inside_chunk(slow_service, job.id, frame // 16)
    os.kill(slow_service.worker_pid("slow") or 0, signal.SIGKILL)
    resumed = slow_service.wait_for_success(job.id)
    prompts = [{"start_frame": 0, "text": job.request.prompt}]
    prompts.append({"start_frame": frame, "text": "a blue square"})
    scheduled = slow_service.submit(model="slow", prompt=None, prompts=prompts, num_frames=NUM_FRAMES, seed=3)
    assert hashes(slow_service.wait_for_success(scheduled.id)) == hashes(resumed)
    plain = hashes(slow_service.wait_for_success(submit_slow(slow_service).id))
    same = [index for index, sha256 in enumerate(hashes(resumed)) if sha256 == plain[index]]
    assert same == list(range(frame // 16))


def test_worker_that_is_stopped_hands_its_chunk_to_another_at_once(own_service: Service) -> None:
    own_service.start_worker("cpu", wait=False)
    leaving = own_service.start_worker("generate", "slow")
    job = submit_slow(own_service)
    wait_until_inside_chunk(own_service, job.id, 1)
    own_service.stop(leaving)
    assert own_service.job(job.id).status is JobStatus.RUNNING
    own_service.start_worker("generate", "slow")
    again = submit_slow(own_service)
    assert hashes(own_service.wait_for_success(job.id)) == hashes(own_service.wait_for_success(again.id))


def test_a_job_that_no_worker_can_make_waits_until_one_can_though_its_message_is_lost(own_service: Service) -> None:
    own_service.start_worker("cpu", wait=False)
    job = own_service.submit(num_frames=16)
    assert (job.status, job.progress.queue_position) == (JobStatus.QUEUED, 1)
    broker = own_service.redis_database(1)
    broker.flushdb()
    broker.close()
    own_service.start_worker("generate", "fake")
    own_service.wait_for_success(job.id)


def test_worker_that_cannot_load_its_preset_says_why_and_jobs_wait_for_the_repair(own_service: Service) -> None:
    own_service.start_worker("cpu", wait=False)
    own_service.start_worker("generate", "broken", wait=False)
    eventually(lambda: "vae" in (reason_of(own_service, "broken") or ""), "the reason in /models")
    reason = reason_of(own_service, "broken")
    job = own_service.submit(model="broken", num_frames=32)
    (worker,) = [entry for entry in own_service.http.get("/readyz").json()["workers"] if entry["model"] == "broken"]
    assert (worker["state"], worker["reason"]) == ("not_ready", reason)
    assert own_service.job(job.id).status is JobStatus.QUEUED
    presets = own_service.settings.presets_dir
    shutil.copy(presets / "fake" / "preset.json", presets / "broken")
    assert len(own_service.wait_for_success(job.id).chunks) == 2
    assert reason_of(own_service, "broken") is None


def reason_of(service: Service, name: str) -> str | None:
    """Why no worker can make this model's jobs, as /models says it."""
    (model,) = [model for model in service.http.get("/models").json()["models"] if model["name"] == name]
    return model["workers"]["reason"]


def test_redis_restart_loses_nothing(slow_service: Service) -> None:
    done = slow_service.wait_for_success(slow_service.submit(model="slow", num_frames=16).id)
    running, queued = submit_slow(slow_service), submit_slow(slow_service)
    slow_service.wait_for_chunks(running.id, 1)
    slow_service.redis_server.stop()
    slow_service.redis_server.start()
    assert without_urls(slow_service.job(done.id)) == without_urls(done)
    assert hashes(slow_service.wait_for_success(running.id)) == hashes(slow_service.wait_for_success(queued.id))


def test_wiped_redis_is_rebuilt_from_the_manifests(slow_service: Service) -> None:
    done = slow_service.wait_for_success(slow_service.submit(model="slow", num_frames=20).id)
    running = submit_slow(slow_service)
    slow_service.wait_for_chunks(running.id, 1)
    client = slow_service.redis()
    client.flushall()
    client.close()
    eventually(lambda: slow_service.http.get(f"/jobs/{done.id}").status_code == 200, "the ended job to be back")
    back = slow_service.job(done.id)
    assert without_urls(back).chunks == without_urls(done).chunks
    assert (back.status, back.request) == (done.status, done.request)
    assert probe(slow_service.video(done.id)).num_frames == 20
    finished = slow_service.wait_for_success(running.id)
    assert hashes(finished) == hashes(slow_service.wait_for_success(submit_slow(slow_service).id))
    assert sum(probe(fetch(chunk.url)).num_frames for chunk in finished.chunks) == NUM_FRAMES


def test_object_store_that_was_away_for_a_moment_costs_nothing(slow_service: Service) -> None:
    job = submit_slow(slow_service)
    wait_until_inside_chunk(slow_service, job.id, 1)
    slow_service.s3_server.stop()
    slow_service.s3_server.start()
    assert len(slow_service.wait_for_success(job.id).chunks) == NUM_FRAMES // 16
