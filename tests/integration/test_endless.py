"""Jobs without an end on a real service: killed workers, an end on the way, a cancel, and players at their sliding
playlist."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import Job, JobStatus, JobSummary
from core.service.video.playlist import SLIDING_CHUNKS
from tests.helpers.browser import chromium, play_by_hls_js, play_natively, wait_until_ended
from tests.helpers.deadline import eventually
from tests.helpers.players import frames_by_ffmpeg, frames_by_gstreamer, frames_by_vlc, hls_js_library
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
BEGUN = SLIDING_CHUNKS + 4
"""Chunks after which players come: the first ones have left the playlist."""
END = BEGUN + 10
PROGRAMS: Sequence[Callable[[str], int]] = (frames_by_ffmpeg, frames_by_gstreamer, frames_by_vlc)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`live` makes a chunk in 0.5 s, half of the second that it plays at 16 fps; `fast` in no time, refined too."""
    folder = tmp_path_factory.mktemp("service")
    write_fake_preset(folder / "presets", "live", steps=5, step_seconds=0.1)
    write_fake_preset(folder / "presets", "fast", refiner=True)
    with running_service(folder, folder / "presets", default_model="live", media="proxy") as service:
        service.start_workers("live", "fast")
        yield service


def submit(service: Service, num_frames: int | None = None, **fields: Any) -> Job:
    body = {"model": "live", "prompt": "a red square", "num_frames": num_frames, "fps": 16, "seed": 3, **fields}
    answer = service.http.post("/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return Job.model_validate(answer.json())


def wait_for_chunks(service: Service, job_id: str, count: int) -> None:
    eventually(lambda: service.job(job_id).progress.chunks_done >= count, f"{count} chunks", seconds=60)


def patch(service: Service, job_id: str, **fields: Any) -> JobSummary:
    answer = service.http.patch(f"/jobs/{job_id}", json=fields)
    assert answer.status_code == 200, answer.text
    return JobSummary.model_validate(answer.json())


def hashes(service: Service, job_id: str) -> list[str]:
    return [chunk.sha256 for chunk in service.job(job_id).chunks]


def test_killed_workers_and_an_end_on_the_way_leave_the_bytes_of_a_job_of_that_length(service: Service) -> None:
    job = submit(service)
    for count in (2, 4):
        wait_for_chunks(service, job.id, count)
        pid = service.worker_pid("live")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: service.worker_pid("live") not in {None, pid}, "another worker", seconds=60)
    wait_for_chunks(service, job.id, 5)
    patch(service, job.id, num_frames=200)
    service.wait_for_success(job.id)
    at_once = service.wait_for_success(submit(service, 200).id)
    assert hashes(service, job.id) == [chunk.sha256 for chunk in at_once.chunks]
    assert service.video(job.id) == service.video(at_once.id)


def test_refined_it_ends_with_the_bytes_of_a_job_of_that_length(service: Service) -> None:
    fields: dict[str, Any] = {"model": "fast", "refine": True}
    job = submit(service, **fields)
    wait_for_chunks(service, job.id, 9)
    (change,) = patch(service, job.id, prompt="a blue square").request.prompt_changes
    length = _give_end(service, job.id, change.start_frame + 40)
    service.wait_for_success(job.id)
    prompts = [{"start_frame": 0, "text": job.request.prompt}, change.model_dump()]
    at_once = service.wait_for_success(submit(service, length, prompt=None, prompts=prompts, **fields).id)
    assert service.video(job.id, "refined") == service.video(at_once.id, "refined")


def _give_end(service: Service, job_id: str, at_least: int) -> int:
    """The end that a fast job took: it may have gone on beyond the one that was meant."""
    for length in range(at_least, 100_000, 160):
        if service.http.patch(f"/jobs/{job_id}", json={"num_frames": length}).status_code == 200:
            return length
    raise AssertionError("the job took no end")


def test_canceling_gives_a_whole_video(service: Service) -> None:
    job = submit(service)
    wait_for_chunks(service, job.id, 3)
    service.http.post(f"/jobs/{job.id}/cancel")
    ended = service.wait_for_end(job.id)
    assert ended.status is JobStatus.CANCELED
    assert frames_by_ffmpeg(ended.links.video) == ended.progress.frames_done >= 3 * CHUNK_FRAMES
    assert frames_by_ffmpeg(ended.links.playlist) == ended.progress.frames_done


# --- players ----------------------------------------------------------------------------------------------------------


def job_to_join(service: Service) -> Job:
    """A job whose playlist slides already, and which ends some seconds from now."""
    job = submit(service)
    wait_for_chunks(service, job.id, BEGUN)
    patch(service, job.id, num_frames=END * CHUNK_FRAMES)
    return job


def check_joined(frames: int) -> None:
    """From a chunk of the playlist that it found to the end."""
    assert (END - BEGUN) * CHUNK_FRAMES <= frames <= (END - BEGUN + SLIDING_CHUNKS) * CHUNK_FRAMES


def test_programs_join_a_job_without_an_end_and_play_to_the_end_it_gets(service: Service) -> None:
    job = job_to_join(service)
    for frames in play_by_programs(job.links.playlist):
        check_joined(frames)
    service.wait_for_success(job.id)
    assert play_by_programs(job.links.playlist) == [END * CHUNK_FRAMES] * len(PROGRAMS)


def play_by_programs(playlist: str) -> list[int]:
    """Frames that each of PROGRAMS has shown; all play at the same time."""
    with ThreadPoolExecutor(len(PROGRAMS)) as pool:
        return [playing.result() for playing in [pool.submit(play, playlist) for play in PROGRAMS]]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(30_000)
        yield page
        page.close()


@pytest.fixture(scope="module")
def hls_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hls_js_library(tmp_path_factory.mktemp("hls"))


def test_hls_js_with_its_defaults_joins_and_plays_to_the_end(service: Service, page: Page, hls_js: Path) -> None:
    play_by_hls_js(page, job_to_join(service).links.playlist, hls_js)
    ended = wait_until_ended(page)
    assert ended.error is None
    check_joined(round(16 * sum(end - begin for begin, end in ended.played)))


def test_chromium_s_own_player_joins_and_plays_to_the_end(service: Service, page: Page) -> None:
    play_natively(page, job_to_join(service).links.playlist)
    ended = wait_until_ended(page)
    assert ended.error is None
    check_joined(round(16 * sum(end - begin for begin, end in ended.played)))
